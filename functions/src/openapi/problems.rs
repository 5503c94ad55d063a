//! Problems in the document: which ones an operation answers, and how each looks.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shared::problem::Code;

use super::header;

/// What every operation may answer, for reasons that are not its own.
const COMMON: [Code; 3] = [Code::HostRefused, Code::Internal, Code::TooManyConnections];
/// An id such as answers have.
const INSTANCE: &str = "01a204df-99d4-77e2-afbe-046af9f4fb9b";

/// Takes the problems out of the operation's description and adds an answer for each status.
///
/// # Panics
/// If the description names a problem that there is not, or lists none although the operation is not
/// without.
pub(super) fn add(operation: &mut Map<String, Value>) {
    let description = operation.remove("description").unwrap_or_default();
    let description = description.as_str().unwrap_or_default();
    let (text, own) = description.rsplit_once("Problems: ").unwrap_or((description, ""));
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in own.split('`').skip(1).step_by(2).map(find).chain(COMMON) {
        let codes = by_status.entry(code.status().as_u16()).or_default();
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    if !text.trim().is_empty() {
        operation.insert("description".to_owned(), text.trim().into());
    }
    for (status, codes) in by_status {
        let answer = match codes.as_slice() {
            [one] => json!({ "$ref": format!("#/components/responses/{}", one.as_str()) }),
            several => response(several),
        };
        operation["responses"][status.to_string()] = answer;
    }
}

fn find(name: &str) -> Code {
    let found = Code::ALL.iter().find(|code| code.as_str() == name);
    *found.unwrap_or_else(|| panic!("a handler's comment names the problem {name}: there is none"))
}

/// An answer for each code.
pub(super) fn responses() -> Value {
    Code::ALL.iter().map(|code| (code.as_str().to_owned(), response(&[*code]))).collect()
}

/// The answer with one of these codes, which have the same status.
fn response(codes: &[Code]) -> Value {
    let status = codes[0].status().as_u16();
    let names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    let described = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title()));
    let examples = codes.iter().map(|code| {
        (code.as_str().to_owned(), json!({ "summary": code.title(), "value": example(*code) }))
    });
    let members = json!({ "code": { "enum": names }, "status": { "const": status } });
    let schema = json!({
        "allOf": [{ "$ref": "#/components/schemas/Problem" }, { "properties": members }],
    });
    let examples: Value = examples.collect();
    json!({
        "description": described.collect::<Vec<_>>().join(" "),
        "headers": headers_of(status),
        "content": { "application/problem+json": { "schema": schema, "examples": examples } },
    })
}

fn example(code: Code) -> Value {
    let mut example = json!({
        "type": format!("urn:keywire:problem:{}", code.as_str()),
        "title": code.title(),
        "status": code.status().as_u16(),
        "code": code.as_str(),
        "instance": INSTANCE,
    });
    let wrong = |field: &str, code: &str, message: &str| json!([{ "pointer": format!("/{field}"), "code": code, "message": message }]);
    match code {
        Code::ValidationFailed => {
            example["errors"] = wrong("username", "too_short", "Use at least 3 characters.");
        }
        Code::UsernameTaken => {
            example["errors"] =
                wrong("username", "taken", "This username is taken; choose another.");
        }
        Code::MalformedJson => example["detail"] = "Parsing stopped at line 1, column 9.".into(),
        Code::SecondFactorRequired => example["challenge"] = "4Jp3b0mZ".into(),
        _ => {}
    }
    example
}

/// The headers that a problem of this status carries.
fn headers_of(status: u16) -> Value {
    let own: &[&str] = match status {
        401 => &["WWW-Authenticate"],
        405 => &["Allow"],
        429 => &["Retry-After", "RateLimit", "RateLimit-Policy"],
        503 => &["Retry-After"],
        _ => &[],
    };
    let all = ["Cache-Control", "X-Request-Id"].iter().chain(own);
    all.map(|name| ((*name).to_owned(), header(component(name)))).collect()
}

/// Under which name the components have a header.
fn component(header: &str) -> &'static str {
    match header {
        "WWW-Authenticate" => "Challenge",
        "Allow" => "Allow",
        "Retry-After" => "RetryAfter",
        "RateLimit" => "RateLimit",
        "RateLimit-Policy" => "RateLimitPolicy",
        "Cache-Control" => "NoStore",
        _ => "RequestId",
    }
}

/// The headers that answers share.
pub(super) fn headers() -> Value {
    let text = |description: &str| json!({ "description": description, "required": true, "schema": { "type": "string" } });
    json!({
        "Challenge": text("RFC 9110 §11.6.1, such as `Bearer realm=\"keywire\"`."),
        "Allow": text("The methods that the address takes."),
        "RateLimit": text("What is left of the limit, such as `\"login\";r=0;t=1`."),
        "RateLimitPolicy": text("The limit, such as `\"login\";q=60;w=60`."),
        "RetryAfter": {
            "description": "Whole seconds to wait before the next try.",
            "required": true,
            "schema": { "type": "integer", "minimum": 1 },
        },
        "NoStore": {
            "description": "The answer is for this request alone.",
            "required": true,
            "schema": { "const": "no-store" },
        },
    })
}

/// Adds the schemas of a problem's body.
pub(super) fn add_schemas(schemas: &mut Value) {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    schemas["ProblemCode"] = json!({
        "type": "string",
        "description": "The kind of problem. It never changes its meaning: decide by this one.",
        "enum": codes,
    });
    schemas["FieldError"] = json!({
        "type": "object",
        "description": "A wrong field of the request's body.",
        "required": ["pointer", "code", "message"],
        "additionalProperties": false,
        "properties": {
            "pointer": { "type": "string", "description": "JSON pointer into the body (RFC 6901)." },
            "code": { "type": "string", "description": "Stable, like `too_short`." },
            "message": { "type": "string", "description": "What to do, for people." },
        },
    });
    schemas["Problem"] = json!({
        "type": "object",
        "description": "What every answer that is no success looks like (RFC 9457).",
        "required": ["type", "title", "status", "code", "instance"],
        "additionalProperties": false,
        "properties": {
            "type": { "type": "string", "format": "uri", "description": "`urn:keywire:problem:` and the code." },
            "title": { "type": "string", "description": "One sentence for people, the same every time." },
            "status": { "type": "integer", "description": "The HTTP status again." },
            "code": { "$ref": "#/components/schemas/ProblemCode" },
            "detail": { "type": "string", "description": "What to do about this occurrence." },
            "instance": { "type": "string", "description": "The request's id, also in `X-Request-Id`." },
            "challenge": {
                "type": "string",
                "description": "To be brought with the second factor; with `second_factor_required` only.",
            },
            "errors": {
                "type": "array",
                "description": "One for each wrong field.",
                "minItems": 1,
                "items": { "$ref": "#/components/schemas/FieldError" },
            },
        },
    });
}
