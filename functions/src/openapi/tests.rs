//! The document.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

/// Every operation, with its method and path.
fn all(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    all.collect()
}

/// What a reference leads to, or the value itself.
fn follow<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(path) => document.pointer(path.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

#[test]
fn the_committed_document_is_what_the_code_says() {
    let fresh = text();
    let different = fresh.lines().zip(COMMITTED.lines()).find(|(fresh, old)| fresh != old);
    assert!(fresh == COMMITTED, "{different:?}: `cargo dev openapi` writes docs/openapi.json anew");
}

#[test]
fn every_body_has_an_example() {
    let document = document();
    for (name, operation) in all(&document) {
        let responses = operation["responses"].as_object().unwrap().values();
        let bodies = responses.map(|response| follow(&document, response));
        let request = operation.get("requestBody");
        for content in bodies.chain(request).filter_map(|body| body["content"].as_object()) {
            for (kind, content) in content {
                let example = content.get("example").or_else(|| content.get("examples"));
                assert!(example.is_some(), "{name}: {kind} {content}");
            }
        }
    }
}

#[test]
fn every_body_is_a_fixture() {
    let document = document();
    for (name, operation) in all(&document) {
        let request = &operation["requestBody"];
        let responses = operation["responses"].as_object().unwrap().iter();
        let mut good = responses.filter(|(status, _)| status.starts_with('2'));
        let Some((status, response)) = good.next() else { continue };
        let bodies = [("request", request), ("response", response)];
        let bodies = bodies.map(|(member, body)| (member, &body["content"][JSON]["example"]));
        let held = bodies.into_iter().filter(|(_, example)| !example.is_null());
        let id = operation["operationId"].as_str().unwrap();
        // What it answers is the document itself.
        if id == "openapi" || held.clone().count() == 0 {
            continue;
        }
        let file = format!("shared/contracts/{id}.json");
        let fixture = examples::fixture(id).unwrap_or_else(|| panic!("{name} has no {file}"));
        assert_eq!(fixture["status"].to_string(), *status, "{file}");
        for (member, example) in held {
            assert_eq!(&fixture[member], example, "{file}: {member}");
        }
    }
}

/// Where in a schema an object says nothing of its members, or lets in others beside those it names.
fn open(document: &Value, schema: &Value, place: &str, found: &mut BTreeSet<String>) {
    let schema = follow(document, schema);
    let is_object = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "object"),
        kind => kind == "object",
    };
    if is_object && schema["additionalProperties"] != false {
        found.insert(place.to_owned());
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        open(document, member, &format!("{place}/{name}"), found);
    }
    for part in ["oneOf", "anyOf", "allOf"] {
        for one in schema[part].as_array().into_iter().flatten() {
            open(document, one, place, found);
        }
    }
    if schema["items"].is_object() {
        open(document, &schema["items"], &format!("{place}/*"), found);
    }
}

#[test]
fn what_is_answered_is_described_to_its_last_member() {
    let document = document();
    let mut found = BTreeSet::new();
    for (name, operation) in all(&document) {
        let responses = operation["responses"].as_object().unwrap().iter();
        for (_, response) in responses.filter(|(status, _)| status.starts_with('2')) {
            let content = &follow(&document, response)["content"][JSON];
            open(&document, &content["schema"], &name, &mut found);
        }
    }
    let free = [
        // What an event says beside who did what to whom is its own.
        "get /audit/entries/*/detail",
        "get /me/export/audit/*/detail",
        // The document itself.
        "get /openapi.json",
    ];
    assert_eq!(found, free.map(str::to_owned).into());
}

#[test]
fn every_operation_has_a_summary_a_tag_and_a_success_and_names_no_problem_in_its_text() {
    let document = document();
    for (name, operation) in all(&document) {
        assert!(operation["summary"].is_string(), "{name}");
        assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{name}");
        let statuses: Vec<_> = operation["responses"].as_object().unwrap().keys().collect();
        assert!(statuses.iter().any(|status| status.starts_with(['2', '3'])), "{name}");
        let text = operation["description"].as_str().unwrap_or_default();
        assert!(!text.contains("Problems"), "{name}: {text}");
    }
}

#[test]
fn an_operation_that_wants_a_token_says_so_and_answers_401() {
    let document = document();
    for (name, operation) in all(&document) {
        let answer = follow(&document, &operation["responses"]["401"]);
        let unauthorised = answer.to_string().contains(r#""token_invalid""#);
        let wants = operation["security"].to_string().contains("access_token");
        assert_eq!(wants, unauthorised, "{name}");
    }
}
