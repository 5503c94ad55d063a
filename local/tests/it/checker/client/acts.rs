//! What a client does.

use std::time::Duration;

use rand::RngExt as _;
use serde_json::json;
use uuid::Uuid;

use super::{Broken, Client, Open, Pending, Phase, Socket};
use crate::checker::history::Event;

/// Messages without an outcome at which a client publishes no more.
const OPEN: usize = 40;
/// Longest text; a queue holds a few of these.
const LONGEST: usize = 8 << 10;

impl Client {
    /// Does something at random.
    pub(super) async fn act(&mut self, socket: &mut Socket) -> Result<(), Broken> {
        let room = self.rooms[self.random.random_range(0..self.rooms.len())].clone();
        match self.random.random_range(0..100) {
            // Without a Close, and with whatever is under way.
            0..2 => return Err(Broken),
            2..6 => {
                // It reads nothing for a while.
                let pause = self.random.random_range(50..800);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            6..10 if self.live.contains(&room) => {
                let command = json!({"command": "unsubscribe", "room": room});
                self.send(socket, command, Pending::Unsubscribe(room)).await?;
            }
            10..14 => {
                let token = &self.tokens[self.random.random_range(0..self.tokens.len())];
                let command = json!({"command": "auth", "token": token});
                self.send(socket, command, Pending::Auth).await?;
            }
            14..16 => self.send(socket, json!({"command": "ping"}), Pending::Ping).await?,
            16..45 => self.subscribe(socket, room).await?,
            45..48 => self.send_open(socket).await?,
            48..85 => {
                for _ in 0..self.random.random_range(1..6) {
                    self.publish(socket, room.clone()).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Does what is left to do.
    pub(super) async fn settle(&mut self, socket: &mut Socket) -> Result<(), Broken> {
        for room in self.rooms.clone() {
            self.subscribe(socket, room).await?;
        }
        self.send_open(socket).await?;
        let is_settled = self.open.is_empty() && self.live.len() == self.rooms.len();
        self.settled.send_if_modified(|settled| {
            std::mem::replace(settled, is_settled && self.pending.is_empty()) != *settled
        });
        Ok(())
    }

    /// Subscribes to a room, from where it was or, rarely, from the end. One that it follows it only
    /// sometimes asks for again.
    async fn subscribe(&mut self, socket: &mut Socket, room: String) -> Result<(), Broken> {
        let is_asked = self
            .pending
            .values()
            .any(|(_, it)| matches!(it, Pending::Subscribe(its, _) if *its == room));
        let is_random = *self.phases.borrow() == Phase::Random;
        let again = is_random && self.random.random_bool(0.05);
        if is_asked || (self.live.contains(&room) && !again) {
            return Ok(());
        }
        let mut command = json!({"command": "subscribe", "room": room});
        let resumes = !is_random || self.random.random_bool(0.9);
        let since = self.at.get(&room).filter(|_| resumes).cloned();
        if let Some((epoch, seq)) = &since {
            self.counts.resumed += 1;
            command["since"] = json!({"epoch": epoch, "seq": seq});
        }
        self.send(socket, command, Pending::Subscribe(room, since)).await
    }

    async fn publish(&mut self, socket: &mut Socket, room: String) -> Result<(), Broken> {
        if self.open.len() >= OPEN {
            return Ok(());
        }
        let key = Uuid::from_u128(self.random.random()).to_string();
        // Mostly short, and now and then one of which a few fill a queue.
        let size = if self.random.random_bool(0.9) { 40 } else { LONGEST };
        let text = format!("{key} {}", "x".repeat(self.random.random_range(0..size)));
        self.open.push(Open { room, key, text, is_sent: false });
        self.send_message(socket, self.open.len() - 1).await
    }

    /// Sends everything again that has no outcome and is not under way.
    pub(super) async fn send_open(&mut self, socket: &mut Socket) -> Result<(), Broken> {
        for number in 0..self.open.len() {
            if !self.open[number].is_sent {
                self.counts.again += 1;
                self.send_message(socket, number).await?;
            }
        }
        Ok(())
    }

    async fn send_message(&mut self, socket: &mut Socket, number: usize) -> Result<(), Broken> {
        let open = &mut self.open[number];
        open.is_sent = true;
        let (room, key, text) = (open.room.clone(), open.key.clone(), open.text.clone());
        let command = json!({"command": "publish", "room": room, "text": text, "key": key});
        self.history.events.push(Event::Sent { room, key: key.clone(), text });
        self.send(socket, command, Pending::Publish(key)).await
    }
}
