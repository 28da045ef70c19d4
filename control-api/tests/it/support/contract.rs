//! Compares what the API takes and answers with `docs/openapi.json`: status, content type, JSON.

use holdfast_storage::time::Timestamp;
use serde_json::{Map, Value};
use std::sync::LazyLock;

pub(crate) const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap());

/// Words of a schema that restrict nothing that is checked here.
const ANNOTATIONS: [&str; 2] = ["description", "default"];

/// A request and its answer.
pub(crate) struct Exchange<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) sent: &'a [u8],
    pub(crate) status: u16,
    pub(crate) content_type: &'a str,
    /// `None` if the answer broke off.
    pub(crate) answered: Option<&'a [u8]>,
}

pub(crate) fn document() -> &'static Value {
    &DOCUMENT
}

impl Exchange<'_> {
    /// Panics if the document does not allow it. A route or method that it does not have is no part
    /// of it.
    pub(crate) fn check(&self) {
        let Some(operation) = operation(self.method, self.path) else {
            return;
        };
        let at = format!("{} {}: {}", self.method, self.path, self.status);
        let answer = resolve(&operation["responses"][self.status.to_string()]);
        assert!(answer.is_object(), "{at} is not in the document");
        self.check_answer(answer, &at);
        let is_taken = (200..300).contains(&self.status);
        if is_taken && !self.sent.is_empty() {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            assert!(body.is_object(), "{at}: the document has no body");
            check(
                body,
                &serde_json::from_slice(self.sent).unwrap(),
                "the body",
            )
            .unwrap_or_else(|why| panic!("{at}: {why}"));
        }
    }

    fn check_answer(&self, answer: &'static Value, at: &str) {
        let Some(bytes) = self.answered.filter(|bytes| !bytes.is_empty()) else {
            return;
        };
        let essence = self.content_type.split(';').next().unwrap();
        let schema = &answer["content"][essence]["schema"];
        assert!(schema.is_object(), "{at}: {essence} is not in the document");
        if essence.ends_with("json") {
            check(
                schema,
                &serde_json::from_slice(bytes).unwrap(),
                "the answer",
            )
            .unwrap_or_else(|why| panic!("{at}: {why}"));
        }
    }
}

/// The operation of the template with the fewest parameters that matches.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let method = if method == "HEAD" { "GET" } else { method };
    let path: Vec<&str> = path.split('?').next().unwrap().split('/').collect();
    let matches = |template: &str| {
        let parts: Vec<&str> = template.split('/').collect();
        parts.len() == path.len()
            && parts
                .iter()
                .zip(&path)
                .all(|(part, given)| part.starts_with('{') || part == given)
    };
    let paths = document()["paths"].as_object().unwrap().iter();
    let matching = paths.filter(|(template, _)| matches(template));
    let (_, item) = matching.min_by_key(|(template, _)| template.matches('{').count())?;
    item.get(method.to_lowercase())
}

fn resolve(schema: &'static Value) -> &'static Value {
    match schema.get("$ref") {
        Some(reference) => {
            let pointer = reference.as_str().unwrap().trim_start_matches('#');
            document().pointer(pointer).unwrap()
        }
        None => schema,
    }
}

/// Whether a value is one of a schema. Stricter than JSON Schema: an object has no properties that
/// its schema does not name, and a word that is unknown here is an error.
pub(crate) fn check(schema: &'static Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = resolve(schema);
    if let Some(parts) = schema.get("allOf") {
        return check_object(parts.as_array().unwrap(), value, at);
    }
    for (word, means) in schema.as_object().unwrap() {
        let fits = match word.as_str() {
            "type" => is_of(means, value),
            "enum" => means.as_array().unwrap().contains(value),
            "oneOf" => {
                let any = means.as_array().unwrap().iter();
                any.filter(|any| check(any, value, at).is_ok()).count() == 1
            }
            "minimum" => is_within(value, |value| value >= means.as_f64().unwrap()),
            "maximum" => is_within(value, |value| value <= means.as_f64().unwrap()),
            "minLength" => is_sized(chars(value), |length| length >= means.as_u64().unwrap()),
            "maxLength" => is_sized(chars(value), |length| length <= means.as_u64().unwrap()),
            "minItems" => is_sized(items(value), |length| length >= means.as_u64().unwrap()),
            "maxItems" => is_sized(items(value), |length| length <= means.as_u64().unwrap()),
            "maxProperties" => is_sized(value.as_object().map(Map::len), |length| {
                length <= means.as_u64().unwrap()
            }),
            "pattern" => has_pattern(means.as_str().unwrap(), value),
            "propertyNames" => {
                for name in value.as_object().into_iter().flat_map(Map::keys) {
                    check(means, &Value::from(name.as_str()), &format!("{at}: a key"))?;
                }
                true
            }
            "format" => has_format(means.as_str().unwrap(), value),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(means, item, &format!("{at}[{index}]"))?;
                }
                true
            }
            "properties" | "required" | "additionalProperties" => true,
            word => ANNOTATIONS.contains(&word),
        };
        if !fits {
            return Err(format!("{at}: {value} against `{word}`: {means}"));
        }
    }
    if value.is_object() {
        check_object(std::slice::from_ref(schema), value, at)?;
    }
    Ok(())
}

fn chars(value: &Value) -> Option<usize> {
    value.as_str().map(|text| text.chars().count())
}

fn items(value: &Value) -> Option<usize> {
    value.as_array().map(Vec::len)
}

/// What has no size is another rule's.
fn is_sized(size: Option<usize>, is_right: impl Fn(u64) -> bool) -> bool {
    size.is_none_or(|size| is_right(size as u64))
}

fn has_pattern(pattern: &str, value: &Value) -> bool {
    let pattern = regex::Regex::new(pattern).unwrap();
    value.as_str().is_none_or(|text| pattern.is_match(text))
}

/// An object whose properties are those of all of the schemas.
fn check_object(schemas: &'static [Value], value: &Value, at: &str) -> Result<(), String> {
    let object = value.as_object().ok_or(format!("{at} is no object"))?;
    let mut parts = Vec::new();
    flatten(schemas, &mut parts);
    let required = parts.iter().filter_map(|part| part["required"].as_array());
    for name in required.flatten() {
        if !object.contains_key(name.as_str().unwrap()) {
            return Err(format!("{at} has no {name}"));
        }
    }
    for (name, value) in object {
        let named = parts.iter().find_map(|part| part["properties"].get(name));
        let other = parts.iter().map(|part| &part["additionalProperties"]);
        let schema = named.or_else(|| other.into_iter().find(|other| other.is_object()));
        match schema {
            Some(schema) => check(schema, value, &format!("{at}.{name}"))?,
            None if parts.iter().all(|part| part.get("properties").is_none()) => (),
            None => return Err(format!("{at}.{name} is not in the document")),
        }
    }
    Ok(())
}

fn flatten(schemas: &'static [Value], into: &mut Vec<&'static Value>) {
    for schema in schemas.iter().map(resolve) {
        match schema.get("allOf") {
            Some(parts) => flatten(parts.as_array().unwrap(), into),
            None => into.push(schema),
        }
    }
}

fn is_of(types: &Value, value: &Value) -> bool {
    let is = |one: &Value| match one.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other} is no type"),
    };
    types
        .as_array()
        .map_or_else(|| is(types), |any| any.iter().any(is))
}

/// Whether a number is within a bound; what is no number has none.
fn is_within(value: &Value, bound: impl Fn(f64) -> bool) -> bool {
    value.as_f64().is_none_or(bound)
}

fn has_format(format: &str, value: &Value) -> bool {
    match (format, value.as_str()) {
        ("date-time", Some(text)) => text.parse::<Timestamp>().is_ok(),
        _ => true,
    }
}
