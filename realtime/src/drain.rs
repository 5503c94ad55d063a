//! Going away: readiness fails, accepting ends, clients are sent away a few at a time.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::Node;

/// What the last connections may take after the window beside the close handshake or a request under
/// way: their tasks have to end as well.
const SLACK: Duration = Duration::from_secs(1);
/// How long a client that is sent away is kept for what it has been promised an answer to. No setting: a
/// publish takes milliseconds, and what has no answer by then is sent again to another node.
pub(crate) const ACKNOWLEDGE: Duration = Duration::from_secs(2);

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

/// Sends every client away, within `DRAIN_DELAY` + `DRAIN_WINDOW` + the longer of `CLOSE_TIMEOUT` + 2 s and
/// `REQUEST_GRACE` + 1 s.
pub(crate) async fn drain(node: &Node) {
    let (settings, close) = (&node.settings().drain, node.settings().heartbeat.close);
    node.phase().advance(Phase::Leaving);
    tracing::info!(connections = node.hub().count(), "draining");
    sleep(settings.delay).await;
    node.phase().advance(Phase::Closing);
    node.hub().send_away(settings.window).await;
    let rest = (ACKNOWLEDGE + close).max(settings.request) + SLACK;
    if timeout(rest, node.slots().all_free()).await.is_err() {
        tracing::warn!(connections = node.slots().open(), "some connections did not end in time");
    }
    node.end_watch();
    tracing::info!("drained");
}
