//! Limits that several endpoints share: a network's requests.

use shared::db::buckets;
use shared::extract::Caller;
use shared::problem::Result;
use shared::rate_limit::{self, Refusal};
use shared::settings::Rate;
use time::OffsetDateTime;

use crate::App;

/// Takes one from the caller's network's bucket of this policy.
pub(crate) async fn network(
    app: &App,
    policy: &str,
    rate: Option<Rate>,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<()> {
    let Some(rate) = rate else { return Ok(()) };
    let key = [policy.as_bytes(), b"\0", &caller.address.network()].concat();
    if let Some(until) = app.refusals.find(&key, now) {
        return Err(rate_limit::refused(policy, Some(rate), until, now));
    }
    let taken = app.db.run(buckets::take(app.db.pool(), &key, rate, now)).await?;
    taken.map_err(|until| {
        app.refusals.remember(key, Refusal { until, ask_again: until }, now);
        rate_limit::refused(policy, Some(rate), until, now)
    })
}
