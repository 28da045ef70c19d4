//! The OpenAPI document: it is in the tree, agrees with the router and with `docs/api.md`, and
//! describes what the API answers ([`crate::support::contract`] compares each answer of each test).

use crate::errors::OPEN;
use crate::support::client::Client;
use crate::support::contract::{FILE, check, document};
use crate::support::fake::{CAMERA, Fake, T0};
use regex::Regex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const METHODS: [&str; 8] = [
    "GET", "POST", "PATCH", "DELETE", "PUT", "OPTIONS", "TRACE", "HEAD",
];

/// Every method and path of the document.
pub(crate) fn described() -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for (path, item) in document()["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            all.insert((method.to_uppercase(), path.clone()));
        }
    }
    all
}

#[tokio::test]
async fn the_document_in_the_tree_is_what_the_code_makes() {
    let answer = Client::of(&Fake::new()).get("/api/v1/openapi.json").await;
    assert_eq!(answer.header("content-type"), "application/json");
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(FILE, &answer.bytes).unwrap();
    }
    let stored = std::fs::read_to_string(FILE).unwrap();
    assert!(
        answer.text() == stored,
        "docs/openapi.json is old: UPDATE_GOLDENFILES=1 cargo test -p holdfast-control-api --test \
         it openapi"
    );
}

/// The texts of all source files of a folder.
fn sources_below(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(sources_below(&path));
        } else {
            texts.push(fs::read_to_string(path).unwrap());
        }
    }
    texts
}

#[tokio::test]
async fn the_document_has_the_methods_of_the_router_and_no_others() {
    let client = Client::of(&Fake::new());
    let mut routed = BTreeSet::new();
    let sources = sources_below(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    let route = Regex::new(r#"\.route\(\s*"(/[^"]+)""#).unwrap();
    let paths: BTreeSet<&str> = sources
        .iter()
        .flat_map(|source| route.captures_iter(source))
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    assert!(paths.len() > 40, "{paths:?}");
    for path in paths {
        let given = path.replace("{id}", "1");
        for method in METHODS {
            if client.call(method, &given, None).await.status != 405 && method != "HEAD" {
                routed.insert((method.to_owned(), path.to_owned()));
            }
        }
    }
    assert_eq!(described(), routed);
}

#[test]
fn all_routes_but_those_for_machines_need_a_token() {
    let open = OPEN.map(|(method, path)| (method.to_owned(), path.to_owned()));
    assert!(described().is_superset(&BTreeSet::from(open)));
    for (method, path) in described() {
        let operation = &document()["paths"][&path][method.to_lowercase()];
        let needs = operation.get("security").unwrap_or(&document()["security"]);
        let is_open = *needs == json!([{}]);
        assert_eq!(is_open, !path.starts_with("/api/"), "{method} {path}");
        assert_eq!(
            operation["responses"].get("401").is_none(),
            is_open,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn the_document_has_the_query_keys_that_a_route_reads() {
    let client = Client::of(&Fake::new());
    for (method, path) in described() {
        let operation = &document()["paths"][&path][method.to_lowercase()];
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let in_query = parameters.filter(|one| one["in"] == "query");
        let mut keys: BTreeSet<&str> = in_query.map(|one| one["name"].as_str().unwrap()).collect();
        if operation["security"].to_string().contains("query_token") {
            keys.insert("token");
        }
        // The refusal of an unknown key names the others.
        let given = path.replace("{id}", "1");
        let answer = client
            .call(&method, &format!("{given}?no-such-key=1"), None)
            .await;
        let detail = answer.problem().detail;
        let mut named: BTreeSet<&str> = detail.split('`').skip(1).step_by(2).collect();
        named.remove("no-such-key");
        assert_eq!(keys, named, "{method} {path}: {detail}");
    }
}

#[test]
fn operations_have_names_of_their_own_and_a_summary() {
    let mut names = BTreeSet::new();
    for (method, path) in described() {
        let operation = &document()["paths"][&path][method.to_lowercase()];
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{name} twice");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{name}");
    }
}

#[test]
fn the_document_has_the_codes_of_the_page() {
    let page = include_str!("../../../docs/api.md");
    let rows = page
        .lines()
        .skip_while(|line| *line != "| status | codes | do |");
    let rows: Vec<&str> = rows
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() > 10);
    let responses = document()["components"]["responses"].as_object().unwrap();
    let text = |answer: &Value| answer["description"].as_str().unwrap().to_owned();
    let mut all: String = responses.values().map(text).collect();
    all.push_str(document()["info"]["description"].as_str().unwrap());
    let quoted = |text: &str| -> BTreeSet<String> {
        let words = text.split('`').skip(1).step_by(2);
        let is_code = |word: &&str| word.chars().all(|c| c == '-' || c.is_ascii_lowercase());
        words.filter(is_code).map(str::to_owned).collect()
    };
    let cell = |row: &str| row.split('|').nth(2).unwrap().to_owned();
    let on_page: BTreeSet<String> = rows.iter().flat_map(|row| quoted(&cell(row))).collect();
    assert_eq!(quoted(&all), on_page);
}

#[tokio::test]
async fn every_read_of_json_is_as_the_document_says() {
    let fake = Fake::with_cameras(7);
    let client = Client::of(&fake);
    let camera = r#"{"name":"gate","source":{"url":"rtsp://10.0.0.9/main"}}"#;
    let (from, to) = (T0, T0.plus_micros(1_000_000));
    let range = format!(r#""from":"{from}","to":"{to}""#);
    for (path, body) in [
        ("cameras", camera.to_owned()),
        (
            "holds",
            format!(r#"{{"reason":"r","camera":{CAMERA},{range}}}"#),
        ),
        (
            "exports",
            format!(r#"{{"name":"e","cameras":[{CAMERA}],{range}}}"#),
        ),
        ("drills", r#"{"camera":1}"#.to_owned()),
    ] {
        let made = client
            .call("POST", &format!("/api/v1/{path}"), Some(&body))
            .await;
        assert_eq!(made.status, 201, "{path}: {}", made.text());
    }
    let mut read = 0;
    for (method, path) in described() {
        let operation = &document()["paths"][&path][method.to_lowercase()];
        let answer = &operation["responses"]["200"]["content"]["application/json"];
        if method != "GET" || answer.is_null() {
            continue;
        }
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let is_needed = |one: &&Value| one["in"] == "query" && one["required"] == true;
        let query = match parameters.filter(is_needed).count() {
            0 => String::new(),
            2 => format!("?from={from}&to={to}"),
            other => panic!("{path} needs {other} keys"),
        };
        let given = path.replace("{id}", "1");
        let answer = client.get(&format!("{given}{query}")).await;
        assert_eq!(answer.status, 200, "{given}{query}: {}", answer.text());
        read += 1;
    }
    assert!(read > 15, "{read}");
}

#[test]
fn every_schema_that_is_named_is_there() {
    fn names<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                into.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| names(value, into));
            }
            Value::Array(items) => items.iter().for_each(|item| names(item, into)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    names(document(), &mut all);
    assert!(all.len() > 100, "{}", all.len());
    for name in all {
        let pointer = name.trim_start_matches('#');
        assert!(document().pointer(pointer).is_some(), "{name}");
    }
}

#[test]
fn what_differs_from_a_schema_is_found() {
    let camera = &document()["components"]["schemas"]["NewCamera"];
    let with = |change: fn(&mut Value)| {
        let mut body = json!({"name": "gate", "source": {"url": "rtsp://h/"}, "priority": 1});
        change(&mut body);
        check(camera, &body, "it")
    };
    assert_eq!(with(|_| ()), Ok(()));
    for change in [
        (|body| body["name"] = json!(7)) as fn(&mut Value),
        |body| body["nome"] = json!("x"),
        |body| body["protection"] = json!("none"),
        |body| body["priority"] = json!(-1),
        |body| body["priority"] = json!(256),
        |body| body["preferred_node"] = json!(1.5),
        |body| body["source"] = json!({}),
        |body| body["labels"] = json!({"a": 1}),
        |body| body["labels"] = json!({"a b": "1"}),
        |body| body["labels"] = json!({"a": "\u{7}"}),
        |body| body["name"] = json!(""),
        |body| body["name"] = json!(" \u{3000}"),
        |body| body["name"] = json!("x".repeat(129)),
        |body| body["source"]["url"] = json!("http://h/"),
        |body| body["source"]["stall_after_ms"] = json!(999),
        |body| body["source"]["tls"] = json!("sha256:00"),
    ] {
        assert!(with(change).is_err());
    }
}
