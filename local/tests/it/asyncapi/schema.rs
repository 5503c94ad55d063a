//! As much of JSON Schema as docs/asyncapi.yaml uses. A keyword that is not known here fails the test, and is
//! not passed over. The web's tests judge the same messages by a validator of others.

use realtime::protocol::Name;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// Which fields an object may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fields {
    /// Whatever there is beside those that are described: receivers ignore it.
    Any,
    /// Those that are described.
    Described,
}

/// Keywords that say nothing of a value.
const SAID_TO_PEOPLE: [&str; 2] = ["description", "default"];

/// Whether a value is as a schema of a document says; why not.
pub(super) fn judge(
    document: &Value,
    schema: &Value,
    value: &Value,
    fields: Fields,
) -> Result<(), String> {
    let schema = schema.as_object().unwrap_or_else(|| panic!("no schema: {schema}"));
    for (keyword, said) in schema {
        let judge = |schema: &Value, value: &Value| judge(document, schema, value, fields);
        let passing = || said.as_array().unwrap().iter().filter(|one| judge(one, value).is_ok());
        let holds = match keyword.as_str() {
            "$ref" => {
                let path = said.as_str().unwrap().strip_prefix('#').unwrap();
                judge(document.pointer(path).unwrap_or_else(|| panic!("no {path}")), value)?;
                true
            }
            "properties" => {
                for (name, schema) in said.as_object().unwrap() {
                    let judged = value.get(name).map_or(Ok(()), |value| judge(schema, value));
                    judged.map_err(|why| format!("{name}: {why}"))?;
                }
                fields == Fields::Any || is_described(schema, value)
            }
            "items" => {
                let mut items = value.as_array().into_iter().flatten();
                items.try_for_each(|item| judge(said, item))?;
                true
            }
            "anyOf" => passing().count() > 0,
            "oneOf" => passing().count() == 1,
            "not" => judge(said, value).is_err(),
            _ => holds(keyword, said, value),
        };
        if !holds {
            return Err(format!("{keyword} {said}: {value}"));
        }
    }
    Ok(())
}

/// Whether an object has no field but those that are described. What names only some fields of an object is
/// no description of it.
fn is_described(schema: &Map<String, Value>, value: &Value) -> bool {
    let described = schema["properties"].as_object().unwrap();
    let mut names = value.as_object().into_iter().flatten().map(|(name, _)| name);
    schema.get("type") != Some(&"object".into()) || names.all(|name| described.contains_key(name))
}

/// Whether a keyword that has no schemas in it holds.
fn holds(keyword: &str, said: &Value, value: &Value) -> bool {
    let most = || said.as_u64().unwrap();
    match keyword {
        "type" => match said {
            Value::Array(types) => types.iter().any(|one| is_of(one, value)),
            one => is_of(one, value),
        },
        "const" => value == said,
        "enum" => said.as_array().unwrap().contains(value),
        "required" => {
            let mut names = said.as_array().unwrap().iter();
            names.all(|name| value.get(name.as_str().unwrap()).is_some())
        }
        "minimum" => value.as_i64().is_none_or(|number| number >= said.as_i64().unwrap()),
        "maximum" => value.as_i64().is_none_or(|number| number <= said.as_i64().unwrap()),
        "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= most()),
        "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= most()),
        "format" | "pattern" => value.as_str().is_none_or(|text| has_form(said, text)),
        other => {
            assert!(SAID_TO_PEOPLE.contains(&other), "{other} is not known");
            true
        }
    }
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type {other} is not known"),
    }
}

/// The patterns of the document say what the code reads.
fn has_form(form: &Value, text: &str) -> bool {
    match form.as_str().unwrap() {
        "uuid" => Uuid::parse_str(text).is_ok(),
        "date-time" => OffsetDateTime::parse(text, &Rfc3339).is_ok(),
        "^[a-z0-9][a-z0-9._-]{0,63}$" => Name::parse(text).is_some(),
        "^(0|-?[1-9][0-9]{0,18})$" => text.parse::<i64>().is_ok(),
        other => panic!("form {other} is not known"),
    }
}
