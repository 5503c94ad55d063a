//! What a client makes of what the node says.

use serde_json::Value;

use super::{Client, Pending};
use crate::checker::history::{Entry, Event};

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Client {
    /// Takes a message of the node.
    pub(super) fn hear(&mut self, said: &str) {
        let message: Value = serde_json::from_str(said).unwrap();
        if let Some(push) = message["push"].as_str() {
            return self.pushed(push, &message);
        }
        let id = message["id"].as_u64().unwrap_or(u64::MAX);
        let Some((_, about)) = self.pending.remove(&id) else {
            return self.tell(Event::Refused(format!("a reply to nothing: {message}")));
        };
        if message.get("ok").is_some() {
            self.done(about, &message["ok"]);
        } else {
            self.failed(&about, &message["error"]);
        }
    }

    fn tell(&mut self, event: Event) {
        self.history.events.push(event);
    }

    fn pushed(&mut self, push: &str, message: &Value) {
        let room = text(&message["room"]);
        match push {
            // Presence is kept by nobody, and tested by itself.
            "welcome" | "bye" | "present" | "absent" | "presence" | "missed" => {}
            "reset" => self.tell(Event::Reset { room }),
            "message" | "joined" => {
                let entry = Entry {
                    seq: message["seq"].as_u64().unwrap_or_default(),
                    kind: push.to_owned(),
                    user: text(&message["user"]["username"]),
                    key: text(&message["key"]),
                    text: message["text"].as_str().map(str::to_owned),
                };
                if let Some(at) = self.at.get_mut(&room) {
                    at.1 = entry.seq;
                }
                self.tell(Event::Entry { room, entry });
            }
            _ => self.tell(Event::Refused(format!("nobody did that: {message}"))),
        }
    }

    fn done(&mut self, about: Pending, ok: &Value) {
        let seq = ok["seq"].as_u64().unwrap_or_default();
        match about {
            Pending::Publish(key) => {
                let duplicate = ok["duplicate"] == true;
                self.counts.duplicates += usize::from(duplicate);
                self.open.retain(|open| open.key != key);
                self.tell(Event::Acked { key, seq, duplicate });
            }
            Pending::Subscribe(room, since) => {
                let epoch = text(&ok["epoch"]);
                self.at.insert(room.clone(), (epoch.clone(), seq));
                self.live.insert(room.clone());
                self.tell(Event::Subscribed { room, since, epoch, seq });
            }
            Pending::Unsubscribe(room) => {
                self.live.remove(&room);
                self.tell(Event::Unsubscribed { room });
            }
            Pending::Auth => self.counts.renewed += 1,
            Pending::Ping => {}
        }
    }

    fn failed(&mut self, about: &Pending, error: &Value) {
        let passing = error["code"] == "unavailable" && error["retry"] == true;
        match about {
            Pending::Publish(key) if passing => {
                self.counts.unknown += 1;
                for open in self.open.iter_mut().filter(|open| open.key == *key) {
                    open.is_sent = false;
                }
                self.tell(Event::Unknown);
            }
            // Whether it was ended before that failed is not said.
            Pending::Subscribe(room, _) if passing => {
                self.live.remove(room);
            }
            Pending::Auth if passing => {}
            // A subscription that could not be made anew was ended.
            Pending::Unsubscribe(_) if error["code"] == "not_subscribed" => {}
            _ => self.tell(Event::Refused(error.to_string())),
        }
    }
}
