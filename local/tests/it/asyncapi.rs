//! docs/asyncapi.yaml against the code, and what is said on sockets against it.
//!
//! That it is one of `AsyncAPI` is told by `web/client/test/asyncapi.test.ts`, with the schema of those
//! who wrote that down.

mod schema;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use realtime::close::CloseCode;
use realtime::protocol::{ErrorCode, HISTORY_ENTRIES, MAX_ID, MUTE_SECONDS, TEXT_CHARS};
use serde_json::{Value, json};
use shared::db::log::Kind;

use crate::docs;
use schema::{Fields, judge};

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_yaml_ng::from_str(&docs::read("docs/asyncapi.yaml")).unwrap());

/// Why a command of a client is none by the document.
///
/// # Errors
/// What is wrong where.
pub(crate) fn judge_command(command: &Value) -> Result<(), String> {
    let name = command["command"].as_str().unwrap_or("without a name");
    of_message(&format!("command.{name}"), command, Fields::Any)
}

/// Fails unless what the node said is in the document to its last field; `answered` is the command of which
/// it has the id.
pub(crate) fn hold(said: &Value, answered: Option<&str>) {
    let name = match (said["push"].as_str(), answered) {
        (Some(push), _) => format!("push.{push}"),
        (None, Some(command)) if said.get("ok").is_some() => format!("ok.{command}"),
        _ => "error".to_owned(),
    };
    let judged = of_message(&name, said, Fields::Described);
    assert!(judged.is_ok(), "{name}: {judged:?} in {said}");
}

fn of_message(name: &str, message: &Value, fields: Fields) -> Result<(), String> {
    match &DOCUMENT["components"]["messages"][name]["payload"] {
        Value::Null => Err(format!("no message {name}")),
        payload => judge(&DOCUMENT, payload, message, fields),
    }
}

fn fixture(of: &str) -> Vec<Value> {
    let fixture: Value =
        serde_json::from_str(&docs::read("shared/contracts/keywire_v1.json")).unwrap();
    fixture[of].as_array().unwrap().clone()
}

/// The command of the fixture that a reply is to.
fn answered(reply: &Value) -> Option<String> {
    let command = fixture("commands").into_iter().find(|command| command["id"] == reply["id"])?;
    command["command"].as_str().map(str::to_owned)
}

/// The document's messages of a kind.
fn described(kind: &str) -> BTreeSet<String> {
    let names = DOCUMENT["components"]["messages"].as_object().unwrap().keys();
    names.filter_map(|name| Some(name.strip_prefix(kind)?.to_owned())).collect()
}

fn words(examples: &[Value], field: &str) -> BTreeSet<String> {
    examples.iter().map(|example| example[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn it_describes_every_message_of_the_fixture_and_no_other() {
    let commands = words(&fixture("commands"), "command");
    assert_eq!(described("command."), commands);
    assert_eq!(described("ok."), commands);
    let pushes = words(&fixture("pushes"), "push");
    assert_eq!(described("push."), pushes);
    assert!(Kind::ALL.iter().all(|kind| pushes.contains(kind.as_str())), "{pushes:?}");
    for command in fixture("commands") {
        assert_eq!(judge_command(&command), Ok(()), "{command}");
    }
    for push in fixture("pushes") {
        hold(&push, None);
    }
    for reply in fixture("replies") {
        hold(&reply, answered(&reply).as_deref());
    }
}

#[test]
fn a_message_with_a_field_less_or_a_wrong_one_is_none() {
    for command in fixture("commands") {
        for name in command.as_object().unwrap().keys() {
            let mut wrong = command.clone();
            wrong[name] = json!([true]);
            let is_free = name == "data";
            assert_eq!(judge_command(&wrong).is_ok(), is_free, "{wrong}");
        }
        let mut less = command.clone();
        less.as_object_mut().unwrap().remove("id");
        assert!(judge_command(&less).is_err(), "{less}");
    }
    let said = fixture("pushes").into_iter().map(|push| (push, "push"));
    let replies = fixture("replies").into_iter();
    let replies = replies.map(|reply| {
        let part = if reply.get("ok").is_some() { "ok" } else { "error" };
        (reply, part)
    });
    for (message, part) in said.chain(replies) {
        let name = match part {
            "push" => format!("push.{}", message["push"].as_str().unwrap()),
            "ok" => format!("ok.{}", answered(&message).unwrap()),
            _ => "error".to_owned(),
        };
        let mut more = message.clone();
        more["colour"] = json!("red");
        let mut inside = message.clone();
        if part != "push" {
            inside[part]["colour"] = json!("red");
        }
        let mut less = message.clone();
        less.as_object_mut().unwrap().remove(part);
        let mut other = message.clone();
        other[part] = json!(7);
        for wrong in [more, inside, less, other] {
            let judged = of_message(&name, &wrong, Fields::Described);
            assert_eq!(judged.is_ok(), wrong == message, "{wrong}");
        }
    }
}

#[test]
fn its_codes_and_limits_are_those_of_the_code() {
    let schemas = &DOCUMENT["components"]["schemas"];
    let codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.word()).collect();
    assert_eq!(schemas["ErrorCode"]["enum"], json!(codes));
    let closes = CloseCode::ALL.iter().map(
        |code| json!({"code": code.number(), "name": code.word(), "reconnect": code.reconnect()}),
    );
    assert_eq!(DOCUMENT["channels"]["v1"]["x-close-codes"], json!(closes.collect::<Vec<_>>()));
    assert_eq!(schemas["Id"]["maximum"], MAX_ID);
    assert_eq!(schemas["Seq"]["maximum"], MAX_ID);
    assert_eq!(schemas["Short"]["maxLength"], TEXT_CHARS);
    let history = &DOCUMENT["components"]["messages"]["command.history"]["payload"];
    assert_eq!(history["properties"]["limit"]["maximum"], HISTORY_ENTRIES);
    let mute = &DOCUMENT["components"]["messages"]["command.mute"]["payload"];
    assert_eq!(mute["properties"]["seconds"]["maximum"], MUTE_SECONDS);
    assert_eq!(schemas["Page"]["properties"]["entries"]["maxItems"], HISTORY_ENTRIES);
}
