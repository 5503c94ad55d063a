//! What clients say to have rooms and be in them.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::load::crowd::{Crowd, all_there};
use crate::load::talk::{Talk, name};

/// The longest wait for one more reply.
const QUIET: Duration = Duration::from_secs(10);

/// The longest turn without a look at the clock.
const TURN: Duration = Duration::from_millis(100);

/// What the clients were told.
///
/// # Errors
/// If they do not speak `keywire.v1`.
pub(super) fn talk(crowd: &mut Crowd) -> anyhow::Result<&mut Talk> {
    crowd.intake.talk.as_mut().context("clients of plain mode")
}

/// Sends a command, its fields given as JSON.
///
/// # Errors
/// If the clients do not speak `keywire.v1`.
pub(super) fn command(crowd: &mut Crowd, client: usize, fields: &str) -> anyhow::Result<()> {
    let due = crowd.intake.nanoseconds(Instant::now());
    let mut frame = Vec::new();
    talk(crowd)?.command(&mut frame, client, fields, due);
    crowd.send(client, &frame);
    Ok(())
}

/// Has a client make public rooms, numbered from 0.
///
/// # Errors
/// If one is refused.
pub(super) fn create(crowd: &mut Crowd, client: usize, rooms: usize) -> anyhow::Result<()> {
    for room in 0..rooms {
        let room = name(room);
        command(crowd, client, &format!(r#""command":"create","room":"{room}","public":true"#))?;
    }
    answered(crowd)
}

/// Subscribes clients to a room, so many at once, each from where it is, or from the end.
///
/// # Errors
/// If one is refused.
pub(super) fn subscribe(
    crowd: &mut Crowd,
    clients: Range<usize>,
    room: usize,
    at_once: usize,
) -> anyhow::Result<()> {
    let all: Vec<_> = clients.collect();
    for some in all.chunks(at_once) {
        for client in some {
            let next = crowd.intake.check.next(*client, room);
            let epoch = talk(crowd)?.epoch(room);
            let since = next.checked_sub(1).map_or_else(String::new, |seq| {
                format!(r#","since":{{"epoch":"{epoch}","seq":{seq}}}"#)
            });
            let room = name(room);
            command(crowd, *client, &format!(r#""command":"subscribe","room":"{room}"{since}"#))?;
        }
        if at_once < all.len() {
            answered(crowd)?;
        }
    }
    Ok(())
}

/// Waits until each command has its reply.
///
/// # Errors
/// If one is refused or does not come.
pub(super) fn answered(crowd: &mut Crowd) -> anyhow::Result<()> {
    let (mut replies, mut last) = (0, Instant::now());
    loop {
        let talk = talk(crowd)?;
        ensure!(talk.refused == 0, "refused: {}", talk.refusal.clone().unwrap_or_default());
        if talk.replies == talk.commands {
            return Ok(());
        }
        if talk.replies > replies {
            (replies, last) = (talk.replies, Instant::now());
        }
        let missing = talk.commands - talk.replies;
        if last.elapsed() > QUIET {
            bail!("{missing} commands have no reply");
        }
        crowd.turn(TURN)?;
        all_there(crowd)?;
    }
}

/// What these clients miss of a room that goes up to `last`.
pub(super) fn missed(crowd: &Crowd, clients: Range<usize>, room: usize, last: u64) -> u64 {
    clients.map(|client| crowd.intake.check.missed(client, room, last + 1)).sum()
}

/// Waits until these clients have a room up to `last`, or nothing more comes; what they miss.
///
/// # Errors
/// If the server breaks the protocol.
pub(super) fn complete(
    crowd: &mut Crowd,
    clients: Range<usize>,
    room: usize,
    last: u64,
) -> anyhow::Result<u64> {
    let begin = Instant::now();
    let mut behind = clients.clone();
    loop {
        // Those who have everything are not looked at again.
        while !behind.is_empty() && crowd.intake.check.next(behind.start, room) > last {
            behind.start += 1;
        }
        if behind.is_empty() || crowd.intake.last.max(begin).elapsed() > QUIET {
            return Ok(missed(crowd, clients, room, last));
        }
        crowd.turn(TURN)?;
    }
}
