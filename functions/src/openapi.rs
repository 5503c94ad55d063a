//! The OpenAPI document of the functions' routes, made from what stands at their handlers.
//!
//! A handler's `#[utoipa::path]` says what it takes and what it answers when all is well; its problems
//! are those that its comment lists ("Problems: …"), which the tests hold docs/api.md to as well.
//! `cargo dev openapi` writes the document to docs/openapi.json, and `discovery` serves that file: no
//! function makes it at run time.

pub mod bodies;
pub(crate) mod examples;
mod problems;

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::{discovery, login, profile, recovery, register, session, users};

/// The document as committed, which is what is served.
pub const COMMITTED: &str = include_str!("../../docs/openapi.json");

/// Media type of what is no problem.
const JSON: &str = "application/json";

/// What no endpoint says.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Keywire",
        description = "Accounts: register, sign in, profile. Whatever is not a success is a problem \
            (RFC 9457) with a stable `code`. Any address may also answer `not_found`, any method \
            `method_not_allowed`. The WebSocket at `/ws` is described in docs/protocol.md.",
        license(name = "MIT", identifier = "MIT")
    ),
    servers((url = "/", description = "The root"), (url = "/api", description = "The same, behind one prefix"))
)]
struct Base;

/// The document, made anew.
///
/// # Panics
/// If a handler's comment names a problem that there is not, or lists none.
pub fn document() -> Value {
    let mut api = Base::openapi();
    for endpoint in [
        register::Api::openapi(),
        login::Api::openapi(),
        login::second_factor::Api::openapi(),
        login::passkey::Api::openapi(),
        session::Api::openapi(),
        profile::Api::openapi(),
        profile::factors::Api::openapi(),
        profile::factors::totp::Api::openapi(),
        profile::factors::passkey::Api::openapi(),
        users::Api::openapi(),
        users::actions::Api::openapi(),
        users::audit::Api::openapi(),
        recovery::Api::openapi(),
        discovery::Api::openapi(),
    ] {
        api.merge(endpoint);
    }
    let mut document = serde_json::to_value(&api).expect("utoipa's document is JSON");
    document["info"]["version"] = json!(env!("CARGO_PKG_VERSION"));
    for operation in operations(&mut document) {
        problems::add(operation);
        add_request_id(operation);
        allow_empty(operation);
        add_examples(operation);
    }
    add_components(&mut document);
    document
}

/// The document as the file has it.
///
/// # Panics
/// As [`document`].
pub fn text() -> String {
    let text = serde_json::to_string_pretty(&document()).expect("a value is JSON");
    format!("{text}\n")
}

/// Every operation of every path.
fn operations(document: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let paths = document["paths"].as_object_mut().into_iter();
    let items = paths.flat_map(|paths| paths.values_mut()).filter_map(Value::as_object_mut);
    items.flat_map(|item| item.values_mut()).filter_map(Value::as_object_mut)
}

/// Every answer carries the request's id.
fn add_request_id(operation: &mut Map<String, Value>) {
    let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
    for response in responses.into_iter().flat_map(|responses| responses.values_mut()) {
        if response.get("$ref").is_none() {
            response["headers"]["X-Request-Id"] = header("RequestId");
        }
    }
}

/// A parameter of the query that is empty counts as one that was not sent.
fn allow_empty(operation: &mut Map<String, Value>) {
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        if parameter["in"] == "query" {
            let schema = parameter["schema"].take();
            parameter["schema"] = json!({ "anyOf": [schema, { "const": "" }] });
        }
    }
}

/// Puts the examples of an operation's bodies beside them, where tools look for them.
fn add_examples(operation: &mut Map<String, Value>) {
    if let Some(request) = operation.get_mut("requestBody") {
        unwrap_optional(request);
    }
    let Some(fixture) = operation["operationId"].as_str().and_then(examples::fixture) else {
        return;
    };
    if let Some(request) = operation.get_mut("requestBody") {
        add_example(request, &fixture["request"]);
    }
    let status = fixture["status"].to_string();
    if let Some(response) = operation["responses"].get_mut(status) {
        add_example(response, &fixture["response"]);
    }
}

/// A body that may be left out is not one that may be `null`.
fn unwrap_optional(request: &mut Value) {
    let schema = &mut request["content"][JSON]["schema"];
    let given = schema["oneOf"].get(0).filter(|_| schema["oneOf"][1]["type"] == "null").cloned();
    if let Some(given) = given {
        *schema = given;
        request["required"] = json!(false);
    }
}

fn add_example(body: &mut Value, example: &Value) {
    let content = body.get_mut("content").and_then(|content| content.get_mut(JSON));
    if let (Some(content), false) = (content, example.is_null()) {
        content["example"] = example.clone();
    }
}

fn add_components(document: &mut Value) {
    let components = &mut document["components"];
    problems::add_schemas(&mut components["schemas"]);
    components["responses"] = problems::responses();
    components["headers"] = problems::headers();
    components["headers"]["RequestId"] = json!({
        "description": "The request's id, which the log has too.",
        "required": true,
        "schema": { "type": "string" },
    });
    components["securitySchemes"] = json!({
        "access_token": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The `access_token` of a sign-in or refresh. Its session is asked at every call.",
        },
        "refresh_cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": "keywire_refresh",
            "description": "A refresh token that no script can read, for pages.",
        },
    });
}

/// A reference to a header of the components.
fn header(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

#[cfg(test)]
mod tests;
