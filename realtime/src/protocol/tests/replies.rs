//! Replies: those of the fixture, each to the command of the same id.

use serde_json::value::RawValue;
use shared::db::members::Role;
use time::OffsetDateTime;

use super::*;

const EVE: Uuid = uuid!("019abcde-0000-7000-8000-000000000003");
const MUTED_UNTIL: OffsetDateTime = datetime!(2026-11-25 11:00 UTC);

/// The key of the fixture that ends with this digit.
fn key(digit: u8) -> Uuid {
    Uuid::from_u128(KEY.as_u128() - 1 + u128::from(digit))
}

fn stored(seq: u64, digit: u8) -> Reply {
    Reply::Stored(Stored { seq, key: key(digit), duplicate: false })
}

fn subscribed(durable: bool, role: Option<Role>, seq: Option<u64>) -> Reply {
    let epoch = || "-8213".to_owned();
    let start = seq.map(|seq| Start { epoch: epoch(), seq, first_seq: 1, last_seq: 45 });
    Reply::Subscribed(Subscribed { room: "general".to_owned(), durable, role, start })
}

fn room(role: Option<Role>) -> Room {
    let (room, title) = ("general".to_owned(), "General".to_owned());
    Room { room, title, durable: true, public: true, role, muted_until: None, log: None }
}

fn created(unchanged: bool) -> Reply {
    Reply::Created(Created { room: room(Some(Role::Owner)), unchanged })
}

/// The answer to `rooms`.
fn own_rooms() -> Reply {
    let log = Some(Log { epoch: "-8213".to_owned(), first_seq: 1, last_seq: 45 });
    let general = Room { muted_until: Some(MUTED_UNTIL), log, ..room(Some(Role::Member)) };
    let lobby = Room {
        room: "lobby".to_owned(),
        title: String::new(),
        durable: false,
        public: false,
        ..room(Some(Role::Owner))
    };
    Reply::Rooms(Rooms { rooms: vec![general, lobby], more: false })
}

fn history() -> Reply {
    let ann = Sender { id: ANN, username: "ann".to_owned() };
    let at = datetime!(2026-11-25 10:00:00.123456 UTC);
    let (user, body) = (Some(&ann), Some(r#"{"text":"hello"}"#));
    let entry = Entry { kind: "message", seq: Some(41), at, user, key: KEY, of: None, body };
    let entry = String::from_utf8(encode_entry("general", &entry)).unwrap();
    Reply::History(Page {
        room: "general".to_owned(),
        epoch: "-8213".to_owned(),
        first_seq: 1,
        last_seq: 45,
        entries: vec![RawValue::from_string(entry).unwrap()],
    })
}

fn members() -> Reply {
    let bob = Member {
        id: BOB,
        username: "bob".to_owned(),
        display_name: Some("Bob".to_owned()),
        role: Role::Moderator,
        muted_until: None,
    };
    let eve = Member {
        id: EVE,
        username: "eve".to_owned(),
        display_name: None,
        role: Role::Member,
        muted_until: Some(MUTED_UNTIL),
    };
    Reply::Members(Members { members: vec![bob, eve], more: false })
}

fn invitations() -> Reply {
    let cellar = Invitation {
        room: "cellar".to_owned(),
        title: "Cellar".to_owned(),
        durable: true,
        public: false,
        invited_by: "ann".to_owned(),
        at: datetime!(2026-11-25 10:00 UTC),
    };
    let den = Invitation {
        room: "den".to_owned(),
        title: String::new(),
        durable: false,
        public: false,
        invited_by: "bob".to_owned(),
        at: cellar.at,
    };
    Reply::Invitations(Invitations { invitations: vec![cellar, den], more: false })
}

fn here() -> Reply {
    Reply::Here(Here {
        room: "general".to_owned(),
        count: 2,
        told: true,
        users: vec![Sender { id: BOB, username: "bob".to_owned() }],
        more: false,
    })
}

#[test]
fn replies_are_written_as_in_the_fixture() {
    let limited = Refusal { retry_ms: Some(1_200), ..ErrorCode::RateLimited.into() };
    let signed_in = SignedIn { user: Sender { id: ANN, username: "ann".to_owned() } };
    let written = [
        reply_ok(1, &Reply::SignedIn(signed_in)),
        reply_ok(2, &Reply::DONE),
        reply_ok(3, &subscribed(true, Some(Role::Member), Some(45))),
        reply_ok(3, &subscribed(false, None, None)),
        reply_error(Some(3), &ErrorCode::RoomNotFound.into()),
        reply_ok(4, &subscribed(true, None, Some(41))),
        reply_ok(5, &Reply::DONE),
        reply_ok(6, &stored(42, 1)),
        reply_ok(6, &Reply::Stored(Stored { seq: 42, key: KEY, duplicate: true })),
        reply_ok(6, &Reply::Taken(Taken { key: KEY })),
        reply_error(Some(6), &limited),
        reply_ok(8, &stored(43, 2)),
        reply_ok(9, &stored(44, 3)),
        reply_ok(9, &Reply::UNCHANGED),
        reply_ok(10, &history()),
        reply_ok(12, &own_rooms()),
        reply_ok(13, &Reply::Rooms(Rooms { rooms: vec![room(None)], more: true })),
        reply_ok(14, &created(false)),
        reply_ok(14, &created(true)),
        reply_ok(15, &stored(45, 4)),
        reply_ok(15, &Reply::UNCHANGED),
        reply_ok(15, &Reply::DONE),
        reply_ok(16, &stored(46, 5)),
        reply_ok(17, &Reply::Invited(Invited { user: BOB, unchanged: false })),
        reply_ok(17, &Reply::Invited(Invited { user: BOB, unchanged: true })),
        reply_ok(18, &stored(47, 6)),
        reply_ok(19, &stored(48, 7)),
        reply_ok(20, &members()),
        reply_ok(21, &Reply::Muted(Muted { user: BOB, muted_until: Some(MUTED_UNTIL) })),
        reply_ok(23, &Reply::Muted(Muted { user: BOB, muted_until: None })),
        reply_ok(24, &invitations()),
        reply_ok(25, &here()),
        reply_ok(26, &Reply::DONE),
        reply_ok(27, &Reply::DONE),
        reply_ok(27, &Reply::UNCHANGED),
        reply_ok(28, &Reply::DONE),
        reply_ok(28, &Reply::UNCHANGED),
        reply_error(None, &ErrorCode::InvalidMessage.into()),
    ];
    let written = written.iter().map(|json| serde_json::from_slice(json).unwrap());
    assert_eq!(written.collect::<Vec<Value>>(), examples("replies"));
}

/// The replies of the fixture that say `ok`, each with the command that it answers.
fn answered() -> Vec<(String, Value)> {
    let commands = examples("commands");
    let replies = examples("replies").into_iter().filter(|reply| reply.get("ok").is_some());
    let answered = replies.map(|reply| {
        let command = commands.iter().find(|command| command["id"] == reply["id"]).unwrap();
        (command["command"].as_str().unwrap().to_owned(), reply["ok"].clone())
    });
    answered.collect()
}

#[test]
fn every_command_of_the_fixture_is_answered_there() {
    let answered: BTreeSet<_> = answered().into_iter().map(|(command, _)| command).collect();
    let commands = examples("commands").into_iter();
    let commands = commands.map(|command| command["command"].as_str().unwrap().to_owned());
    assert_eq!(answered, commands.collect());
}

#[test]
fn every_field_of_an_answer_stands_in_its_row_of_the_page() {
    for (command, ok) in answered() {
        let (_, commands) = page().split_once("### Commands").unwrap();
        let row = commands.lines().find(|line| line.starts_with(&format!("| `{command}` | ")));
        let column = row.unwrap().split('|').nth(3).unwrap();
        for field in ok.as_object().unwrap().keys() {
            let is_there =
                column.contains(&format!("`{field}`")) || column.contains(&format!("`{field} {{"));
            assert!(is_there, "{command}: {field}");
        }
    }
}
