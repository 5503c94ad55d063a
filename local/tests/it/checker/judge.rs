//! Compares what clients saw with what the log has, and says what does not agree.
//!
//! It knows nothing of sockets or of Postgres, so that broken histories show that it finds what is wrong.

mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use super::history::{Entry, Event, History, Logs};

/// Everything that is wrong, in words; nothing if all was kept.
pub(super) fn judge(histories: &[History], logs: &Logs) -> Vec<String> {
    let mut wrong = Vec::new();
    for (room, log) in logs {
        for (entry, seq) in log.iter().zip(1..) {
            if entry.seq != seq {
                wrong.push(format!("the log of {room} has {} at place {seq}", entry.seq));
            }
        }
    }
    let mut sent = HashMap::new();
    for history in histories {
        judge_one(history, logs, &mut wrong);
        for event in &history.events {
            if let Event::Sent { room, key, text } = event {
                sent.insert((&*history.user, room, key), text);
            }
        }
    }
    judge_logs(&sent, logs, &mut wrong);
    wrong
}

/// Each message was sent by somebody, with this text, and is there once.
fn judge_logs(
    sent: &HashMap<(&str, &String, &String), &String>,
    logs: &Logs,
    wrong: &mut Vec<String>,
) {
    for (room, log) in logs {
        let mut seen = HashSet::new();
        for Entry { seq, kind, user, key, text } in log {
            if !seen.insert((user, key)) {
                wrong.push(format!("{key} of {user} is stored again, at {seq} in {room}"));
            }
            if kind == "message" && sent.get(&(&**user, room, key)).copied() != text.as_ref() {
                wrong.push(format!("{key} of {user}, at {seq} in {room}, is not what was sent"));
            }
        }
    }
}

/// A client's own view.
struct Client<'a> {
    user: &'a str,
    logs: &'a Logs,
    /// Messages without an acknowledgement, and where they went.
    open: BTreeMap<&'a str, &'a str>,
    /// Where each message went.
    rooms: HashMap<&'a str, &'a str>,
    /// The last place of each room that it is subscribed to.
    live: BTreeMap<&'a str, u64>,
    /// On this connection, the messages sent for the first time, by their number.
    order: HashMap<&'a str, usize>,
    /// In each room, the latest of these that was acknowledged, and its place.
    latest: HashMap<&'a str, (usize, u64)>,
}

fn judge_one(history: &History, logs: &Logs, wrong: &mut Vec<String>) {
    let user = &history.user;
    let mut client = Client {
        user,
        logs,
        open: BTreeMap::new(),
        rooms: HashMap::new(),
        live: BTreeMap::new(),
        order: HashMap::new(),
        latest: HashMap::new(),
    };
    for event in &history.events {
        if let Some(what) = client.takes(event) {
            wrong.push(format!("{user}: {what}"));
        }
    }
    let Client { open, live, .. } = client;
    for (key, room) in open {
        wrong.push(format!("{user}: {key} in {room} was never acknowledged"));
    }
    for (room, log) in logs {
        let last = log.last().map_or(0, |entry| entry.seq);
        if live.get(&**room) != Some(&last) {
            let at = live.get(&**room);
            wrong.push(format!("{user}: ends at {at:?} in {room}, whose last is {last}"));
        }
    }
}

impl<'a> Client<'a> {
    /// Takes what happened next; what is wrong with it.
    fn takes(&mut self, event: &'a Event) -> Option<String> {
        match event {
            Event::Connected => {
                self.live.clear();
                self.order.clear();
                self.latest.clear();
                None
            }
            Event::Sent { room, key, .. } => self.sent(room, key),
            Event::Acked { key, seq, duplicate } => self.acked(key, *seq, *duplicate),
            Event::Unknown => None,
            Event::Refused(why) => Some(format!("refused: {why}")),
            Event::Subscribed { room, since, epoch, seq } => {
                self.live.insert(room, *seq);
                let as_asked = since.as_ref().is_none_or(|since| *since == (epoch.clone(), *seq));
                (!as_asked).then(|| format!("asked for {since:?} in {room}, got {seq} of {epoch}"))
            }
            Event::Unsubscribed { room } => {
                self.live.remove(&**room);
                None
            }
            Event::Entry { room, entry } => self.entry(room, entry),
            Event::Reset { room } => Some(format!("a reset in {room}")),
        }
    }

    fn sent(&mut self, room: &'a str, key: &'a str) -> Option<String> {
        self.open.insert(key, room);
        if self.rooms.insert(key, room).is_none() {
            self.order.insert(key, self.rooms.len());
        } else {
            self.order.remove(key);
        }
        None
    }

    /// What is acknowledged is in the log, where the acknowledgement says; what a connection sent for the
    /// first time is stored in the order in which it was sent.
    fn acked(&mut self, key: &'a str, seq: u64, duplicate: bool) -> Option<String> {
        let Some(room) = self.rooms.get(key).copied() else {
            return Some(format!("{key} was acknowledged and never sent"));
        };
        self.open.remove(key);
        let found = self.at(room, seq);
        if !found.is_some_and(|entry| entry.key == key && entry.user == self.user) {
            return Some(format!(
                "{key} is not at {seq} in {room}, as was acknowledged: {found:?}"
            ));
        }
        if let Some(number) = self.order.get(key).copied().filter(|_| !duplicate) {
            let (before, place) = self.latest.insert(room, (number, seq)).unwrap_or_default();
            if place != 0 && (number > before) != (seq > place) {
                return Some(format!(
                    "{key} at {seq} in {room} is out of the order it was sent in"
                ));
            }
        }
        None
    }

    /// What comes is next, and is what the log has there.
    fn entry(&mut self, room: &'a str, entry: &Entry) -> Option<String> {
        let seq = entry.seq;
        let Some(at) = self.live.get_mut(room) else {
            return Some(format!("{seq} came in {room} without a subscription"));
        };
        let expected = std::mem::replace(at, seq) + 1;
        if seq != expected {
            return Some(format!("{seq} came in {room} instead of {expected}"));
        }
        let stored = self.at(room, seq);
        (stored != Some(entry))
            .then(|| format!("{entry:?} came in {room}, and the log has {stored:?}"))
    }

    fn at(&self, room: &str, seq: u64) -> Option<&'a Entry> {
        let place = usize::try_from(seq).ok()?.checked_sub(1)?;
        self.logs.get(room)?.get(place)
    }
}
