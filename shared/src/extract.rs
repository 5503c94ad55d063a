//! What handlers take from a request: the fields of a JSON body, and who is calling.

pub mod parameters;

use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

use crate::client_address::ClientAddress;
use crate::front::{Front, RequestId};
use crate::problem::{Code, FieldError, Problem, Result};

/// How much of a body over the limit is still read: a client that is busy sending would otherwise
/// meet a reset before it reads the 413. No setting: what is over `BODY_BYTES` is read and forgotten.
const DRAIN_BYTES: usize = 256 * 1024;
/// Most unknown fields told, so that a small body makes no large answer. No setting: the first few say
/// what is wrong.
const UNKNOWN_TOLD: usize = 20;
/// Longest User-Agent kept, in characters. No setting: it bounds rows that live as long as the audit log.
const USER_AGENT_CHARS: usize = 256;

/// Who is calling, for throttles, sessions and the audit log.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The client's address.
    pub address: ClientAddress,
    /// The request's id.
    pub request_id: String,
    /// User-Agent, at most 256 characters, control characters replaced.
    pub user_agent: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let front = "every router stands behind the front";
        let address = *parts.extensions.get::<ClientAddress>().expect(front);
        let RequestId(request_id) = parts.extensions.get::<RequestId>().expect(front).clone();
        Ok(Self { address, request_id, user_agent: user_agent(&parts.headers) })
    }
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let text = String::from_utf8_lossy(headers.get(header::USER_AGENT)?.as_bytes()).into_owned();
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    Some(text.chars().take(USER_AGENT_CHARS).map(clean).collect())
}

/// What a body asks of a value that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<T> {
    /// The field was left out: it stays.
    Keep,
    /// The field is null: it is taken away.
    Clear,
    /// It becomes this.
    Set(T),
}

impl<T> Change<T> {
    /// Whether anything changes.
    pub fn is_change(&self) -> bool {
        !matches!(self, Self::Keep)
    }

    /// The new value, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }
}

/// Why a field's value is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Stable code, like `too_short`.
    pub code: &'static str,
    /// A sentence that says what to do.
    pub message: String,
}

impl Invalid {
    /// A refusal.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// As the field that this JSON pointer names.
    pub fn at(self, pointer: impl Into<String>) -> FieldError {
        FieldError { pointer: pointer.into(), code: self.code, message: self.message }
    }
}

/// The fields of a JSON object, taken one by one; what is wrong is reported together.
///
/// Its values are overwritten when it is dropped, because they may hold a password; names are not.
#[derive(Debug)]
pub struct Fields {
    map: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl<S: Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        if !is_json(request.headers()) {
            return Err(Problem::new(Code::UnsupportedMediaType));
        }
        if request.headers().contains_key(header::CONTENT_ENCODING) {
            // RFC 9110 §12.5.3: says which encodings would be taken.
            let identity = HeaderValue::from_static("identity");
            return Err(Problem::new(Code::UnsupportedMediaType)
                .detail("Send the body without Content-Encoding.")
                .header(header::ACCEPT_ENCODING, identity));
        }
        let front = Arc::clone(
            request.extensions().get::<Arc<Front>>().expect("every router stands behind the front"),
        );
        let limit = front.http.body_bytes.0;
        let reading = read_body(request.into_body(), limit);
        let body = tokio::time::timeout(front.http.body_timeout, reading)
            .await
            .map_err(|_| Problem::new(Code::RequestTimeout))??;
        Self::parse(&body)
    }
}

/// `None` for a request without a body.
impl<S: Sync> OptionalFromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>> {
        let bare = !request.headers().contains_key(header::CONTENT_TYPE);
        if bare && request.body().is_end_stream() {
            return Ok(None);
        }
        <Self as FromRequest<S>>::from_request(request, state).await.map(Some)
    }
}

/// `application/json`, with or without parameters, as RFC 8259 §11 registers it.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()) else {
        return false;
    };
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

async fn read_body(mut body: Body, limit: usize) -> Result<Zeroizing<Vec<u8>>> {
    // Reserved at once: a vector that grows leaves copies of the password behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit));
    let mut seen = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Problem::new(Code::BadRequest).detail("The body broke off or is not well framed.")
        })?;
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= limit {
            bytes.extend_from_slice(&data);
        } else if seen > limit.saturating_add(DRAIN_BYTES) {
            break;
        }
    }
    if seen <= limit {
        return Ok(bytes);
    }
    let close = HeaderValue::from_static("close");
    Err(Problem::new(Code::BodyTooLarge)
        .detail(format!("At most {limit} bytes are taken."))
        .header(header::CONNECTION, close))
}

impl Fields {
    fn parse(body: &[u8]) -> Result<Self> {
        let value = serde_json::from_slice(body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Problem::new(Code::MalformedJson)
                .detail(format!("Parsing stopped at line {line}, column {column}."))
        })?;
        let Value::Object(map) = value else {
            let wrong = Invalid::new("wrong_type", "Send a JSON object.");
            return Err(Problem::validation(vec![wrong.at("")]));
        };
        Ok(Self { map, errors: Vec::new() })
    }

    /// Takes a text field and parses it; what is wrong with it is remembered.
    pub fn text<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(String) -> std::result::Result<T, Invalid>,
    ) -> Option<T> {
        if !self.map.contains_key(name) {
            self.refuse(name, Invalid::new("required", format!("Enter the {name}.")));
        }
        self.optional_text(name, parse).flatten()
    }

    /// Takes a text field that may be missing, which is `Some(None)`; what is wrong with it is
    /// remembered.
    pub fn optional_text<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(String) -> std::result::Result<T, Invalid>,
    ) -> Option<Option<T>> {
        let parsed = match self.map.remove(name) {
            Some(Value::String(text)) => parse(text),
            Some(_) => Err(Invalid::new("wrong_type", format!("Send {name} as a text."))),
            None => return Some(None),
        };
        parsed.map(Some).map_err(|invalid| self.refuse(name, invalid)).ok()
    }

    /// Takes a list of texts that may be missing, which is `Some(None)`; what is wrong with it is
    /// remembered.
    pub fn optional_list<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(Vec<String>) -> std::result::Result<T, Invalid>,
    ) -> Option<Option<T>> {
        let text = |value| if let Value::String(text) = value { Some(text) } else { None };
        let texts = match self.map.remove(name) {
            Some(Value::Array(values)) => values.into_iter().map(text).collect::<Option<Vec<_>>>(),
            Some(_) => None,
            None => return Some(None),
        };
        let wrong = || Invalid::new("wrong_type", format!("Send {name} as a list of texts."));
        let parsed = texts.ok_or_else(wrong).and_then(parse);
        parsed.map(Some).map_err(|invalid| self.refuse(name, invalid)).ok()
    }

    /// Takes a text field that may be missing or null; what is wrong with it is remembered.
    pub fn change<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(String) -> std::result::Result<T, Invalid>,
    ) -> Option<Change<T>> {
        if self.map.get(name).is_some_and(Value::is_null) {
            self.map.remove(name);
            return Some(Change::Clear);
        }
        Some(self.optional_text(name, parse)?.map_or(Change::Keep, Change::Set))
    }

    /// As [`Fields::text`], for a field that holds an object.
    pub fn object<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(Map<String, Value>) -> std::result::Result<T, Invalid>,
    ) -> Option<T> {
        let parsed = match self.map.remove(name) {
            Some(Value::Object(map)) => parse(map),
            Some(_) => Err(Invalid::new("wrong_type", format!("Send {name} as an object."))),
            None => Err(Invalid::new("required", format!("Send the {name}."))),
        };
        parsed.map_err(|invalid| self.refuse(name, invalid)).ok()
    }

    /// Whether the field is there, whatever it holds.
    pub fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// Ends the taking: the value, if nothing was wrong and no field is left over.
    ///
    /// # Errors
    /// 422 `validation_failed` with one entry for each wrong field.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T> {
        let unknown: Vec<String> = self.map.keys().take(UNKNOWN_TOLD).cloned().collect();
        for name in unknown {
            self.refuse(
                &name,
                Invalid::new("unknown_field", "Leave this field out; it is not known here."),
            );
        }
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(Problem::validation(std::mem::take(&mut self.errors))),
        }
    }

    fn refuse(&mut self, name: &str, invalid: Invalid) {
        // RFC 6901 §3: `~` and `/` are escaped in a pointer.
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        self.errors.push(invalid.at(pointer));
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        self.map.values_mut().for_each(overwrite);
    }
}

/// Overwrites every text within; `serde_json` lets nothing nest deeper than 128.
fn overwrite(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(overwrite),
        Value::Object(map) => map.values_mut().for_each(overwrite),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_within_a_value_is_overwritten() {
        let mut value = serde_json::json!({ "a": ["secret", { "b": "secret" }], "c": "secret" });
        overwrite(&mut value);
        assert_eq!(value, serde_json::json!({ "a": ["", { "b": "" }], "c": "" }));
    }
}
