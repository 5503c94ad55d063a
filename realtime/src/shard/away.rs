//! Sends the clients of a shard away: in random order and evenly, so that the other nodes are not hit
//! by all at once.

use std::rc::Rc;
use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::Shard;
use crate::close::CloseCode;

/// The pace at which few clients of a node are sent away; many get the whole window.
const PACE: Duration = Duration::from_millis(10);

/// Sends everybody away and tells when that is done.
pub(super) async fn send_away(shard: Rc<Shard>, window: Duration, done: oneshot::Sender<()>) {
    let mut connections: Vec<_> = shard.connections.borrow().iter().cloned().collect();
    connections.shuffle(&mut rand::rng());
    let count = u32::try_from(connections.len()).unwrap_or(u32::MAX);
    // Each shard sends away its share at the same time.
    let shards = u32::try_from(shard.shared.shards.len()).unwrap_or(u32::MAX);
    let step = window.checked_div(count).unwrap_or_default().min(PACE * shards);
    // A wave at a time: a timer for each of 100,000 clients would tick more finely than it can.
    let wave =
        usize::try_from(PACE.as_nanos() / step.as_nanos().max(1)).unwrap_or(usize::MAX).max(1);
    let start = Instant::now();
    let mut sent = 0;
    for connections in connections.chunks(wave) {
        for connection in connections {
            connection.end(CloseCode::Restart);
            sent += 1;
        }
        // From the start on, so that the lateness of each wake-up does not add up.
        sleep_until(start + step * sent).await;
    }
    // Whoever upgraded while the waves went.
    for connection in shard.connections.borrow().iter() {
        connection.end(CloseCode::Restart);
    }
    // The node may have stopped waiting.
    if done.send(()).is_err() {
        tracing::debug!("nobody waits for the clients to be sent away");
    }
}
