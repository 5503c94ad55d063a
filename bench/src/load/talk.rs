//! `keywire.v1` as the clients speak it: commands, their replies, and the entries of rooms' logs.
//!
//! An entry comes to thousands of clients, so it is understood once; of every further delivery only the
//! place is read, and the text compared. What is rare is read as JSON.

use serde_json::Value;

use super::frame::{self, TEXT};
use super::stamp::{STAMP, Stamp};
use crate::samples::Samples;

/// Asks for the protocol in the handshake.
pub(crate) const PROTOCOL: &str = "Sec-WebSocket-Protocol: keywire.v1";

/// What every room's name begins with; its number follows.
const ROOM: &str = "bench-";

/// What an entry begins with, up to the room's number.
const ENTRY: &[u8] = br#"{"push":"message","room":"bench-"#;

/// What follows the room's number.
const PLACE: &[u8] = br#"","seq":"#;

/// What follows a text.
const END: &[u8] = br#""}"#;

/// Ends the text of a stamp, up to the size wanted.
const FILLER: char = '.';

/// The one character of a stamp that JSON would escape, and what goes over the wire instead.
const ESCAPED: (u8, u8) = (b'\\', b'~');

/// What all clients were told.
#[derive(Debug)]
pub(crate) struct Talk {
    filler: String,
    logs: Vec<Log>,
    clients: Vec<Client>,
    /// From when a command was due until its reply was read.
    pub(crate) answers: Samples,
    /// Commands sent, and replies to them.
    pub(crate) commands: u64,
    /// As above.
    pub(crate) replies: u64,
    /// Commands that were refused, and the last refusal.
    pub(crate) refused: u64,
    /// As above.
    pub(crate) refusal: Option<String>,
    /// Clients that were told to forget what they have.
    pub(crate) resets: u64,
    /// Deliveries whose text was not that of the first delivery of their place.
    pub(crate) altered: u64,
    /// Bytes of the last entry.
    pub(crate) entry_bytes: usize,
}

/// What became known of a room's log.
#[derive(Debug, Default)]
struct Log {
    epoch: String,
    /// The place of the first of `said`.
    first: u64,
    said: Vec<Option<([u8; STAMP], Stamp)>>,
}

/// A client's side.
#[derive(Debug, Default)]
struct Client {
    /// When each command was due, by its `id`.
    due: Vec<u64>,
    answered: u64,
    published: u64,
    /// Its own messages that came back to it.
    heard: u64,
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// An entry: the room in place of the sender, its place in place of the number.
    Entry(Stamp),
    /// The client is subscribed to this room and has everything up to this place.
    Begins(usize, u64),
    /// Anything else.
    Other,
}

/// A room's name.
pub(crate) fn name(room: usize) -> String {
    format!("{ROOM}{room}")
}

impl Talk {
    /// Of so many clients and rooms, with texts of so many bytes.
    pub(crate) fn new(clients: usize, rooms: usize, bytes: usize) -> Self {
        Self {
            filler: FILLER.to_string().repeat(bytes.saturating_sub(STAMP)),
            logs: (0..rooms).map(|_| Log::default()).collect(),
            clients: (0..clients).map(|_| Client::default()).collect(),
            answers: Samples::new(),
            commands: 0,
            replies: 0,
            refused: 0,
            refusal: None,
            resets: 0,
            altered: 0,
            entry_bytes: 0,
        }
    }

    /// Adds the frame of a command, its fields given as JSON.
    pub(crate) fn command(&mut self, out: &mut Vec<u8>, client: usize, fields: &str, due: u64) {
        let sent = &mut self.clients[client].due;
        frame::add(out, TEXT, format!("{{\"id\":{},{fields}}}", sent.len()).as_bytes());
        sent.push(due);
        self.commands += 1;
    }

    /// Adds the frame of a message for a room.
    pub(crate) fn publish(&mut self, out: &mut Vec<u8>, client: usize, room: usize, due: u64) {
        let number = self.clients[client].published;
        self.clients[client].published += 1;
        let stamp = Stamp { sender: client, number, sent: due }.encode();
        let stamp = swapped(stamp, ESCAPED.0, ESCAPED.1);
        let stamp = String::from_utf8_lossy(&stamp);
        let Self { filler, .. } = self;
        let fields =
            format!(r#""command":"publish","room":"{ROOM}{room}","text":"{stamp}{filler}""#);
        self.command(out, client, &fields, due);
    }

    /// Commands of a client that are not answered.
    pub(crate) fn unanswered(&self, client: usize) -> u64 {
        let Client { due, answered, .. } = &self.clients[client];
        due.len() as u64 - answered
    }

    /// How many of its own messages a client has heard.
    pub(crate) fn heard(&self, client: usize) -> u64 {
        self.clients[client].heard
    }

    /// The epoch of a room's log, once somebody is subscribed.
    pub(crate) fn epoch(&self, room: usize) -> &str {
        &self.logs[room].epoch
    }

    /// Takes a message that a client read.
    #[inline]
    pub(crate) fn take(&mut self, client: usize, message: &[u8], arrived: u64) -> Said {
        match entry(message) {
            Some((room, seq)) if room < self.logs.len() => self.entry(client, message, room, seq),
            _ => self.other(client, message, arrived),
        }
    }

    #[inline]
    fn entry(&mut self, client: usize, message: &[u8], room: usize, seq: u64) -> Said {
        let log = &mut self.logs[room];
        if log.said.is_empty() {
            log.first = seq;
        }
        let text = message.len().checked_sub(END.len() + self.filler.len() + STAMP);
        let stamp = text.and_then(|start| message[start..].first_chunk::<STAMP>());
        let index = seq.checked_sub(log.first).and_then(|index| usize::try_from(index).ok());
        let (Some(stamp), Some(index)) = (stamp, index) else {
            self.altered += 1;
            return Said::Other;
        };
        if log.said.len() <= index {
            log.said.resize(index + 1, None);
        }
        let said = &mut log.said[index];
        if said.is_none() {
            let decoded = Stamp::decode(&swapped(*stamp, ESCAPED.1, ESCAPED.0));
            *said = decoded.map(|decoded| (*stamp, decoded));
            self.entry_bytes = message.len();
        }
        let Some((first, decoded)) = said else {
            self.altered += 1;
            return Said::Other;
        };
        self.altered += u64::from(first != stamp);
        self.clients[client].heard += u64::from(decoded.sender == client);
        Said::Entry(Stamp { sender: room, number: seq, sent: decoded.sent })
    }

    fn other(&mut self, client: usize, message: &[u8], arrived: u64) -> Said {
        let said: Value = serde_json::from_slice(message).unwrap_or_default();
        self.resets += u64::from(said["push"] == "reset");
        let Some(id) = said["id"].as_u64().and_then(|id| usize::try_from(id).ok()) else {
            return Said::Other;
        };
        let due = self.clients[client].due.get(id).copied().unwrap_or(arrived);
        self.answers.record(std::time::Duration::from_nanos(arrived.saturating_sub(due)));
        self.clients[client].answered += 1;
        self.replies += 1;
        if let Some(error) = said.get("error") {
            self.refused += 1;
            self.refusal = Some(error.to_string());
        }
        let ok = &said["ok"];
        let room = ok["room"].as_str().and_then(|room| room.strip_prefix(ROOM)?.parse().ok());
        let room = room.filter(|room: &usize| *room < self.logs.len());
        match (room, ok["epoch"].as_str(), ok["seq"].as_u64()) {
            (Some(room), Some(epoch), Some(seq)) => {
                epoch.clone_into(&mut self.logs[room].epoch);
                Said::Begins(room, seq)
            }
            _ => Said::Other,
        }
    }
}

/// The room and the place of a message in a log.
#[inline]
fn entry(message: &[u8]) -> Option<(usize, u64)> {
    let (room, rest) = number(message.strip_prefix(ENTRY)?)?;
    let (seq, rest) = number(rest.strip_prefix(PLACE)?)?;
    rest.ends_with(END).then_some((usize::try_from(room).ok()?, seq))
}

/// A number and what follows it.
#[inline]
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = bytes.split_at(digits);
    let add = |sum: u64, digit: &u8| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
    (1..=19).contains(&digits).then(|| (number.iter().fold(0, add), rest))
}

fn swapped(stamp: [u8; STAMP], from: u8, to: u8) -> [u8; STAMP] {
    stamp.map(|byte| if byte == from { to } else { byte })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the node makes of a message that a client sent.
    fn pushed(talk: &mut Talk, client: usize, seq: u64, due: u64) -> Vec<u8> {
        let mut out = Vec::new();
        talk.publish(&mut out, client, 1, due);
        // Of a short frame: two bytes and the mask, which a second time gives the text again.
        let mut plain = Vec::new();
        frame::add(&mut plain, TEXT, &out[6..]);
        let command: Value = serde_json::from_slice(&plain[6..]).unwrap();
        let text = command["text"].as_str().unwrap();
        assert_eq!((text.len(), command["room"].as_str()), (20, Some("bench-1")));
        format!(r#"{{"push":"message","room":"bench-1","seq":{seq},"key":"k","text":"{text}"}}"#)
            .into_bytes()
    }

    #[test]
    fn an_entry_tells_its_room_its_place_and_when_it_was_due() {
        let mut talk = Talk::new(2, 2, 20);
        for (seq, due) in [(5, 0x2C), (6, 77)] {
            let message = pushed(&mut talk, 1, seq, due);
            let entry = Said::Entry(Stamp { sender: 1, number: seq, sent: due });
            assert_eq!(talk.take(0, &message, 99), entry);
            assert_eq!(talk.take(1, &message, 99), entry);
            assert_eq!(talk.entry_bytes, message.len());
        }
        assert_eq!((talk.heard(0), talk.heard(1), talk.altered), (0, 2, 0));
    }

    #[test]
    fn another_text_at_the_same_place_is_seen() {
        let mut talk = Talk::new(1, 2, 20);
        let (one, other) = (pushed(&mut talk, 0, 5, 1), pushed(&mut talk, 0, 5, 1));
        talk.take(0, &one, 9);
        talk.take(0, &other, 9);
        assert_eq!(talk.altered, 1);
    }

    #[test]
    fn replies_are_counted_and_tell_where_a_subscription_begins() {
        let mut talk = Talk::new(1, 1, 20);
        let mut out = Vec::new();
        for _ in 0..3 {
            talk.command(&mut out, 0, r#""command":"ping""#, 0);
        }
        let subscribed = br#"{"id":0,"ok":{"room":"bench-0","epoch":"-7","seq":4}}"#;
        assert_eq!(talk.take(0, subscribed, 1_000_000), Said::Begins(0, 4));
        assert_eq!((talk.epoch(0), talk.unanswered(0), talk.answers.count()), ("-7", 2, 1));
        talk.take(0, br#"{"id":1,"error":{"code":"muted"}}"#, 9);
        talk.take(0, br#"{"push":"reset","room":"bench-0"}"#, 9);
        assert_eq!((talk.refused, talk.resets, talk.replies), (1, 1, 2));
    }
}
