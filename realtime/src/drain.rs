//! Going away: readiness fails, accepting ends, clients are sent away a few at a time.

use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::Node;
use crate::close::CloseCode;

/// The pace at which few clients are sent away; many get the whole window. No setting: it is the
/// finest wait a timer keeps well.
const PACE: Duration = Duration::from_millis(10);
/// What the last connections may take after the window beside the close handshake or a request under
/// way: their tasks have to end as well.
const SLACK: Duration = Duration::from_secs(1);

/// How far the node is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It takes connections.
    Serving,
    /// It takes connections but tells load balancers to look elsewhere.
    Leaving,
    /// It takes no more connections and sends its clients away.
    Closing,
}

/// The node's phase, which others wait for.
#[derive(Debug)]
pub struct Phases(watch::Sender<Phase>);

impl Phases {
    /// Serving.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Phase::Serving))
    }

    /// The phase now.
    pub fn now(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the node takes no more connections.
    pub async fn closing(&self) {
        let mut phase = self.0.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        if phase.wait_for(|phase| *phase == Phase::Closing).await.is_err() {
            tracing::debug!("the node's phase ended");
        }
    }

    fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let later = *phase < to;
            *phase = to.max(*phase);
            later
        });
    }
}

/// Sends every client away, within `DRAIN_DELAY` + `DRAIN_WINDOW` + the longer of `CLOSE_TIMEOUT` and
/// `REQUEST_GRACE` + 1 s.
pub(crate) async fn drain(node: &Node) {
    let (settings, close) = (&node.settings().drain, node.settings().heartbeat.close);
    node.phase().advance(Phase::Leaving);
    tracing::info!(connections = node.hub().count(), "draining");
    sleep(settings.delay).await;
    node.phase().advance(Phase::Closing);
    send_away(node, settings.window).await;
    let rest = close.max(settings.request) + SLACK;
    if timeout(rest, node.slots().all_free()).await.is_err() {
        tracing::warn!(connections = node.slots().open(), "some connections did not end in time");
    }
    tracing::info!("drained");
}

/// In random order, evenly over the window, so that the other nodes are not hit by all at once.
async fn send_away(node: &Node, window: Duration) {
    let mut members = node.hub().members();
    members.shuffle(&mut rand::rng());
    let count = u32::try_from(members.len()).unwrap_or(u32::MAX);
    let step = window.checked_div(count).unwrap_or_default().min(PACE);
    // A wave at a time: a timer for each of 100,000 clients would tick more finely than it can.
    let wave =
        usize::try_from(PACE.as_nanos() / step.as_nanos().max(1)).unwrap_or(usize::MAX).max(1);
    let start = Instant::now();
    let mut sent = 0;
    for members in members.chunks(wave) {
        for member in members {
            member.end(CloseCode::Restart);
            sent += 1;
        }
        // From the start on, so that the lateness of each wake-up does not add up.
        sleep_until(start + step * sent).await;
    }
    // Whoever upgraded while the waves went.
    for member in node.hub().members() {
        member.end(CloseCode::Restart);
    }
}
