//! Carries out what a client of `keywire.v1` says.
//!
//! A connection's commands begin in the order in which they came. Publishes go on at once, up to a limit;
//! any other that takes time is alone: what the client says meanwhile is not read.

#![expect(clippy::future_not_send, reason = "a connection's commands stay on its shard's thread")]

use std::time::Duration;

use shared::settings;
use uuid::Uuid;

mod auth;
mod history;
mod presence;
mod publish;
mod rooms;
mod subscribe;

use crate::auth::Identity;
use crate::close::CloseCode;
use crate::hub::SignIn;
use crate::protocol::{
    Bye, Command, ErrorCode, Limits, Parsed, Push, Rate, Refusal, Reply, Welcome, parse,
    reply_error, reply_ok,
};
use crate::shard::client::{Client, IN_FLIGHT, Wait};

/// What a command comes to.
type Outcome = Result<Reply, Refusal>;

/// Greets a client, or sends it away if its token was refused.
pub(crate) fn welcome(client: &Client) {
    match client.take_sign_in() {
        Some(SignIn::Done(identity)) => client.signed_in(identity, None),
        Some(SignIn::Refused(code)) => return client.close(code),
        Some(SignIn::Awaited) | None => {}
    }
    let settings = &client.node().settings;
    let user = client.identity().map(|identity| identity.sender());
    let welcome = Welcome {
        sign_in_ms: user.is_none().then(|| millis(settings.accept.sign_in)),
        user,
        limits: Limits {
            message_bytes: settings.queues.message.0 as u64,
            subscriptions: settings.limits.subscriptions,
            publishes_in_flight: IN_FLIGHT,
            messages: settings.limits.messages.map(rate),
            bytes: settings.limits.bytes.map(rate),
            ping_interval_ms: millis(settings.heartbeat.interval),
            ping_timeout_ms: millis(settings.heartbeat.timeout),
        },
    };
    client.say(&Push::Welcome(welcome).encode());
}

/// Tells a client that the node goes away, and to spread its coming back over the time it takes.
pub(crate) fn bye(client: &Client) {
    let retry_ms = millis(client.node().settings.drain.window);
    let code = CloseCode::Restart.number();
    client.say(&Push::Bye(Bye { code, retry_ms }).encode());
}

/// Carries out a message.
///
/// # Errors
/// [`Wait`], if it must be tried again later; nothing has happened then.
pub(crate) fn hear(client: &Client, text: &[u8]) -> Result<(), Wait> {
    client.may_begin()?;
    let Parsed { id, command } = parse(text);
    match (id, command) {
        (Some(id), Ok(command)) => carry_out(client, id, command),
        (id, Err(refusal)) => {
            client.say(&reply_error(id, &refusal));
            Ok(())
        }
        (None, Ok(_)) => {
            client.say(&reply_error(None, &ErrorCode::InvalidMessage.into()));
            Ok(())
        }
    }
}

/// Refuses a message that came too fast.
pub(crate) fn refuse(client: &Client, text: &[u8], wait: Duration) {
    let refusal = Refusal { retry_ms: Some(millis(wait).max(1)), ..ErrorCode::RateLimited.into() };
    client.say(&reply_error(parse(text).id, &refusal));
    client.strike();
}

fn carry_out(client: &Client, id: u64, command: Command) -> Result<(), Wait> {
    match (client.identity(), command) {
        (_, Command::Ping) => reply(client, id, Ok(Reply::DONE)),
        (_, Command::Auth(token)) => {
            let it = client.clone();
            client.run(async move {
                let outcome = auth::auth(&it, &token).await;
                reply(&it, id, outcome);
            });
        }
        (None, _) => reply(client, id, Err(ErrorCode::NotSignedIn.into())),
        (Some(identity), command) => return begin(client, id, identity, command),
    }
    Ok(())
}

/// Begins a command of who is signed in.
fn begin(client: &Client, id: u64, identity: Identity, command: Command) -> Result<(), Wait> {
    match command {
        Command::Unsubscribe(room) => {
            let done = client.unsubscribe(room.as_str());
            let outcome = if done { Ok(Reply::DONE) } else { Err(ErrorCode::NotSubscribed.into()) };
            reply(client, id, outcome);
        }
        Command::Publish(room, key, content) => {
            return publish::publish(client, id, identity, room, key, content);
        }
        // It replies by itself: what follows in the room stands behind the reply.
        Command::Subscribe(room, since) => {
            let user = identity.user;
            let subscribe = subscribe::subscribe(client.clone(), id, identity, room, since);
            in_turn(client, user, subscribe);
        }
        Command::Presence(room, after) => {
            let user = identity.user;
            let presence = presence::presence(client.clone(), id, identity, room, after);
            in_turn(client, user, presence);
        }
        Command::Typing(room) => {
            reply(client, id, presence::typing(client, &identity, &room));
        }
        Command::History(room, page) => {
            let it = client.clone();
            in_turn(client, identity.user, async move {
                let outcome = history::history(&it, &identity, &room, page).await;
                reply(&it, id, outcome);
            });
        }
        command => {
            let it = client.clone();
            in_turn(client, identity.user, async move {
                let outcome = alone(&it, &identity, command).await;
                reply(&it, id, outcome);
            });
        }
    }
    Ok(())
}

/// Runs a command that asks the database when it is its user's turn; not for a connection that has ended
/// meanwhile.
fn in_turn(client: &Client, user: Uuid, command: impl Future<Output = ()> + 'static) {
    let it = client.clone();
    client.run(async move {
        let _turn = it.store().auth.turns().take(user).await;
        if !it.is_over() {
            command.await;
        }
    });
}

/// A command during which no other runs.
async fn alone(client: &Client, identity: &Identity, command: Command) -> Outcome {
    match command {
        Command::Edit(room, of, key, content) => {
            publish::edit(client, identity, &room, of, key, content).await
        }
        Command::Delete(room, of, key) => publish::delete(client, identity, &room, of, key).await,
        command => rooms::carry_out(client, identity, command).await,
    }
}

fn reply(client: &Client, id: u64, outcome: Outcome) {
    let json = match outcome {
        Ok(ok) => reply_ok(id, &ok),
        Err(refusal) => reply_error(Some(id), &refusal),
    };
    client.say(&json);
}

fn rate(settings::Rate { count, period, burst }: settings::Rate) -> Rate {
    Rate { count, period_ms: millis(period), burst }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The store is away: who signs in is told by a Close, as others are before the 101.
fn store_is_away(client: &Client) -> Refusal {
    client.close(CloseCode::TryLater);
    ErrorCode::Unavailable.into()
}
