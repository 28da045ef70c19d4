//! `/api/v1/openapi.json`: the OpenAPI document of every route. The handlers' annotations and the
//! wire types give what differs between routes; what they have in common is added here.

use super::queries::{self, Keys};
use crate::error::{ApiError, Problem};
use crate::problems::{
    self, Conflict, Internal, Invalid, Malformed, OutcomeUnknown, TooLarge, Unauthorised,
    Unavailable, UnsupportedMediaType,
};
use crate::resources::ports::Result;
use crate::schema::InitName;
use crate::{auth, media, resources};
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;
use std::collections::BTreeMap;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{PathItem, RefOr, Required, Response};
use utoipa::{IntoResponses, Modify, OpenApi};

/// The names of the two ways to send the token.
const BEARER: &str = "bearer";
const QUERY_TOKEN: &str = "query_token";

/// Headers that decide how much is sent of media.
const CONDITIONS: [&str; 4] = ["Range", "If-Range", "If-Match", "If-None-Match"];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Holdfast",
        version = "1",
        description = "The control API of a Holdfast node. Any node answers for the whole cluster. \
            Each `GET` also answers `HEAD`. A path that does not exist gets 404 `unknown-route`, \
            another method 405 `method-not-allowed` with an `Allow` header, both as problem \
            documents. `docs/api.md` describes each route."
    ),
    paths(show),
    components(schemas(Problem, InitName)),
    security(("bearer" = []))
)]
struct Document;

/// This document.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    operation_id = "show_openapi",
    responses((status = 200, body = serde_json::Map<String, serde_json::Value>))
)]
pub(super) async fn show() -> Result<impl IntoResponse> {
    let text = document()
        .to_pretty_json()
        .map_err(|error| ApiError::internal(format!("the document cannot be written: {error}")))?;
    let json = (header::CONTENT_TYPE, "application/json");
    Ok(([json], text + "\n"))
}

fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    for (noun, mut part) in resources::documents() {
        for (_, operation) in part.paths.paths.values_mut().flat_map(operations) {
            let tags = operation.tags.get_or_insert_default();
            if tags.is_empty() {
                tags.push(noun.to_owned());
            }
        }
        document.merge(part);
    }
    document.merge(media::Paths::openapi());
    Common.modify(&mut document);
    document
}

/// What the routes have in common.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations(item) {
                complete(&method, path, operation);
            }
        }
        let components = document.components.get_or_insert_default();
        components.responses.extend(problems::all());
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let token = SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::new("token")));
        components.add_security_scheme(BEARER, bearer);
        components.add_security_scheme(QUERY_TOKEN, token);
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn complete(method: &Method, path: &str, operation: &mut Operation) {
    let is_guarded = path.starts_with("/api/v1/");
    let answers = &mut operation.responses.responses;
    for (status, answer) in answers.iter_mut() {
        if let RefOr::T(answer) = answer {
            describe(status, answer);
        }
    }
    let may_be_part = answers.contains_key(StatusCode::PARTIAL_CONTENT.as_str());
    answers.extend(shared_answers(
        is_guarded,
        method,
        operation.request_body.is_some(),
    ));
    let parameters = operation.parameters.get_or_insert_default();
    keep_read(parameters, method, path);
    if may_be_part {
        parameters.extend(CONDITIONS.map(|name| header_parameter(name).into()));
    }
    if is_guarded && *method == Method::GET && auth::is_playback(path) {
        let either = [BEARER, QUERY_TOKEN].map(|name| SecurityRequirement::new(name, [""; 0]));
        operation.security = Some(either.into());
    }
}

/// What any route may answer.
fn shared_answers(
    is_guarded: bool,
    method: &Method,
    has_body: bool,
) -> BTreeMap<String, RefOr<Response>> {
    let mut all = Malformed::responses();
    all.extend(Internal::responses());
    all.extend(Unavailable::responses());
    if is_guarded {
        all.extend(Unauthorised::responses());
    }
    if *method != Method::GET {
        all.extend(Conflict::responses());
        all.extend(OutcomeUnknown::responses());
    }
    if has_body {
        all.extend(TooLarge::responses());
        all.extend(UnsupportedMediaType::responses());
        all.extend(Invalid::responses());
    }
    all
}

/// An answer whose annotation has no words of its own gets those of its status.
fn describe(status: &str, answer: &mut Response) {
    let meaning = StatusCode::from_bytes(status.as_bytes()).ok();
    let reason = meaning.and_then(|status| status.canonical_reason());
    if let Some(reason) = reason.filter(|_| answer.description.is_empty()) {
        reason.clone_into(&mut answer.description);
    }
}

/// Leaves out the keys of a shared query that the route rejects, and the token, which is a scheme
/// of its own.
fn keep_read(parameters: &mut Vec<RefOr<Parameter>>, method: &Method, path: &str) {
    let Some(Keys::These(keys)) = queries::keys_of(method, path) else {
        return parameters.retain(|parameter| !is_query(parameter, |name| name == "token"));
    };
    parameters
        .retain(|parameter| !is_query(parameter, |name| name == "token" || !keys.contains(&name)));
    for parameter in parameters {
        if let RefOr::T(parameter) = parameter
            && needs(keys, &parameter.name)
        {
            parameter.required = Required::True;
        }
    }
}

/// Whether a route with these keys needs a key of a range: not if it also shows live footage. What
/// grows may have no end.
fn needs(keys: &[&str], name: &str) -> bool {
    match name {
        "from" => !keys.contains(&"live"),
        "to" => !keys.contains(&"live") && !keys.contains(&"video"),
        _ => false,
    }
}

fn is_query(parameter: &RefOr<Parameter>, has: impl Fn(&str) -> bool) -> bool {
    match parameter {
        RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Query && has(&parameter.name),
        RefOr::Ref(_) => false,
    }
}

fn header_parameter(name: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}
