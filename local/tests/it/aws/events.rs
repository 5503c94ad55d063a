//! Events of API Gateway, as `shared/contracts/events` has them, with something changed.

use serde_json::Value;

use super::tools::root;

/// A captured event.
pub(crate) fn event(name: &str) -> Value {
    let file = root().join("shared/contracts/events").join(name).with_extension("json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// The event with another body, as it is.
pub(crate) fn with_body(name: &str, body: &str) -> Value {
    let mut event = event(name);
    event["body"] = body.into();
    event
}

/// The event with another body that is said to be base64.
pub(crate) fn with_base64(name: &str, body: &str) -> Value {
    let mut event = with_body(name, body);
    event["isBase64Encoded"] = true.into();
    event
}

/// The event at another path, behind a stage.
pub(crate) fn at(name: &str, stage: &str, path: &str) -> Value {
    let mut event = event(name);
    event["rawPath"] = path.into();
    event["requestContext"]["http"]["path"] = path.into();
    event["requestContext"]["stage"] = stage.into();
    event
}

/// A POST with a username and a password.
pub(crate) fn credentials(name: &str, username: &str, password: &str) -> Value {
    let body = serde_json::json!({ "username": username, "password": password });
    with_body(name, &body.to_string())
}

/// The event from another client address.
pub(crate) fn from(mut event: Value, address: &str) -> Value {
    event["requestContext"]["http"]["sourceIp"] = address.into();
    event
}
