//! The fixture that clients read, too, and the page are what the code says.

mod replies;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use time::macros::datetime;
use uuid::{Uuid, uuid};

use super::*;

const ANN: Uuid = uuid!("019abcde-0000-7000-8000-000000000001");
const BOB: Uuid = uuid!("019abcde-0000-7000-8000-000000000002");
const KEY: Uuid = uuid!("5f0c0f6e-6d0c-4f0e-9c54-d2c6f0f1c8a1");

fn fixture() -> Value {
    serde_json::from_str(include_str!("../../../shared/contracts/keywire_v1.json")).unwrap()
}

fn examples(of: &str) -> Vec<Value> {
    fixture()[of].as_array().unwrap().clone()
}

fn page() -> &'static str {
    include_str!("../../../docs/protocol.md")
}

/// Every command that is read, by its word in the wire's text.
fn read_words() -> BTreeSet<&'static str> {
    let source = include_str!("parse.rs");
    let (_, arms) = source.split_once("fn command(").unwrap();
    let (arms, _) = arms.split_once("\n}\n").unwrap();
    arms.lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" =>"))
        .map(|(word, _)| word)
        .collect()
}

/// The word that tells a command in the wire's text.
fn word(command: &Command) -> &'static str {
    match command {
        Command::Auth(_) => "auth",
        Command::Ping => "ping",
        Command::Subscribe(..) => "subscribe",
        Command::Unsubscribe(_) => "unsubscribe",
        Command::Publish(..) => "publish",
        Command::Edit(..) => "edit",
        Command::Delete(..) => "delete",
        Command::History(..) => "history",
        Command::Rooms(_) => "rooms",
        Command::Search(..) => "search",
        Command::Create(_) => "create",
        Command::Join(..) => "join",
        Command::Leave(..) => "leave",
        Command::Invite(..) => "invite",
        Command::Decline(_) => "decline",
        Command::Uninvite(..) => "uninvite",
        Command::Remove(..) => "remove",
        Command::SetRole(..) => "set_role",
        Command::Members(..) => "members",
        Command::Mute(_, _, Some(_)) => "mute",
        Command::Mute(_, _, None) => "unmute",
        Command::Invitations(_) => "invitations",
        Command::Presence(..) => "presence",
        Command::Typing(_) => "typing",
    }
}

#[test]
fn every_command_of_the_fixture_is_read_and_stands_on_the_page() {
    for example in examples("commands") {
        let Parsed { id, command } = parse(example.to_string().as_bytes());
        assert_eq!(json!(id), example["id"]);
        let word = word(&command.unwrap());
        assert_eq!(word, example["command"]);
        assert!(page().contains(&format!("\n| `{word}` | ")), "{word}");
    }
}

#[test]
fn every_command_that_is_read_stands_in_the_fixture() {
    let examples = examples("commands");
    let there = examples.iter().map(|example| example["command"].as_str().unwrap());
    assert_eq!(there.collect::<BTreeSet<_>>(), read_words());
}

#[test]
fn what_a_command_lacks_is_told() {
    for mut example in examples("commands") {
        let fields = example.as_object_mut().unwrap();
        for optional in
            ["since", "key", "before", "after", "limit", "query", "title", "durable", "public"]
        {
            fields.remove(optional);
        }
        // One of the two is needed.
        let is_needed = |name: &str| !["id", "command", "until", "seconds"].contains(&name);
        let needed: Vec<_> = fields.keys().filter(|name| is_needed(name)).cloned().collect();
        assert!(parse(example.to_string().as_bytes()).command.is_ok(), "{example}");
        for name in needed {
            let mut less = example.clone();
            less.as_object_mut().unwrap().remove(&name);
            let refusal = parse(less.to_string().as_bytes()).command.unwrap_err();
            assert_eq!(refusal.code, ErrorCode::InvalidField, "{less}");
        }
    }
}

#[test]
fn the_errors_are_those_of_the_fixture_and_the_page() {
    let ours: Vec<_> = ErrorCode::ALL
        .iter()
        .map(|code| json!({"code": code.word(), "retry": code.is_retryable()}))
        .collect();
    assert_eq!(examples("errors"), ours);
    for code in ErrorCode::ALL {
        let retry = if code.is_retryable() { "yes" } else { "no" };
        assert!(page().contains(&format!("\n| `{}` | {retry} | ", code.word())), "{code:?}");
    }
}

#[test]
fn pushes_are_written_as_in_the_fixture() {
    let ann = Sender { id: ANN, username: "ann".to_owned() };
    let entry = |kind, seq, user, of, body| {
        let at = datetime!(2026-11-25 10:00:00.123456 UTC);
        encode_entry("general", &Entry { kind, seq: Some(seq), at, user, key: KEY, of, body })
    };
    let limits = Limits {
        message_bytes: 65_536,
        subscriptions: Some(200),
        publishes_in_flight: 32,
        messages: Some(Rate { count: 1_000, period_ms: 1_000, burst: 2_000 }),
        bytes: Some(Rate { count: 4 << 20, period_ms: 1_000, burst: 8 << 20 }),
        ping_interval_ms: 25_000,
        ping_timeout_ms: 10_000,
    };
    let member = |user: Uuid, name: &str, role: &str| {
        format!(r#"{{"user":"{user}","username":"{name}"{role}}}"#)
    };
    let reset = Reset { room: "general", epoch: "-8213".to_owned(), first_seq: 5, last_seq: 45 };
    let written = [
        Push::Welcome(Welcome { user: None, sign_in_ms: Some(10_000), limits }).encode(),
        entry("message", 42, Some(&ann), None, Some(r#"{"text":"hello"}"#)),
        entry("edited", 43, Some(&ann), Some(42), Some(r#"{"data":{"x":1}}"#)),
        entry("message", 42, None, None, None),
        entry("deleted", 44, Some(&ann), Some(42), None),
        entry("joined", 45, Some(&ann), None, Some(&member(ANN, "ann", r#","role":"member""#))),
        entry("left", 46, Some(&ann), None, Some(&member(BOB, "bob", ""))),
        entry("role", 47, Some(&ann), None, Some(&member(BOB, "bob", r#","role":"moderator""#))),
        Push::Reset(reset).encode(),
        Push::Unsubscribed { room: "general" }.encode(),
        Push::Present(InRoom { room: "general", user: &ann }).encode(),
        Push::Absent(InRoom { room: "general", user: &ann }).encode(),
        Push::Presence { room: "general", told: false }.encode(),
        Push::Typing(InRoom { room: "general", user: &ann }).encode(),
        Push::Missed.encode(),
        Push::Bye(Bye { code: 1012, retry_ms: 20_000 }).encode(),
    ];
    let written: Vec<Value> =
        written.iter().map(|json| serde_json::from_slice(json).unwrap()).collect();
    assert_eq!(written, examples("pushes"));
    for push in written {
        let word = push["push"].as_str().unwrap();
        assert!(page().contains(&format!("`{word}`")), "{word}");
    }
}

#[test]
fn an_escaped_backslash_before_u0000_is_a_text_like_any() {
    let say = |data: &str| {
        let text = format!(r#"{{"id":1,"command":"publish","room":"r","data":{data}}}"#);
        parse(text.as_bytes()).command.is_ok()
    };
    assert!(say(r#""\\u0000""#) && say(r#""\\\\u0000""#) && say(r#""\\""#));
    assert!(!say(r#""\ud800""#) && !say("1e999"));
    assert!(!say(r#""\u0000""#) && !say(r#""\\\u0000""#) && !say(r#"{"\u0000":1}"#));
}

#[test]
fn data_is_as_deep_as_every_reader_takes_it_and_no_deeper() {
    let say = |data: &str| {
        let text = format!(r#"{{"id":1,"command":"publish","room":"r","data":{data}}}"#);
        parse(text.as_bytes()).command
    };
    let lists = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    for deep in [lists, objects] {
        assert!(say(&deep(64)).is_ok());
        for depth in [65, 124, 127, 128, 20_000] {
            let refusal = say(&deep(depth)).expect_err("too deep");
            assert_eq!(refusal.code, ErrorCode::InvalidField, "{depth}");
        }
    }
    let told = say(&lists(65)).expect_err("too deep").detail;
    assert!(told.contains("at most 64"), "{told}");
    // Nor is it deep what only looks so, in a text or one beside the other.
    let brackets = "[{".repeat(100);
    assert!(say(&format!(r#"["{brackets}","\"{brackets}"]"#)).is_ok());
    assert!(say(&format!("[{}[]]", "[],".repeat(100))).is_ok());
}

#[test]
fn a_mute_has_one_end() {
    let mute = |end: &str| {
        let text = format!(r#"{{"id":1,"command":"mute","room":"r","user":"{BOB}"{end}}}"#);
        parse(text.as_bytes()).command.is_ok()
    };
    assert!(mute(r#","seconds":1"#) && mute(&format!(r#","seconds":{MUTE_SECONDS}"#)));
    assert!(mute(r#","until":"2026-11-25T11:00:00+02:00""#));
    assert!(
        !mute("")
            && !mute(r#","seconds":0"#)
            && !mute(r#","seconds":1,"until":"2026-11-25T11:00:00Z""#)
    );
    assert!(
        !mute(&format!(r#","seconds":{}"#, MUTE_SECONDS + 1)) && !mute(r#","until":"tomorrow""#)
    );
}
