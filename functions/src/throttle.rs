//! Limits that several endpoints share: a network's requests, an account's, and the mails to an address.

use shared::credentials::Email;
use shared::db::buckets;
use shared::extract::Caller;
use shared::password::Passwords;
use shared::problem::{Problem, Result};
use shared::rate_limit::{self, Refusal};
use shared::settings::Rate;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::App;

/// Takes one from the caller's network's bucket of this policy.
pub(crate) async fn network(
    app: &App,
    policy: &str,
    rate: Option<Rate>,
    caller: &Caller,
    now: OffsetDateTime,
) -> Result<()> {
    let key = [policy.as_bytes(), b"\0", &caller.address.network()].concat();
    take(app, policy, rate, key, now).await
}

/// Takes one from the bucket of this policy of an account, whose session the caller has checked: else
/// somebody with a token that ended long ago could empty it.
pub(crate) async fn account(
    app: &App,
    policy: &str,
    rate: Option<Rate>,
    user: Uuid,
    now: OffsetDateTime,
) -> Result<()> {
    take(app, policy, rate, account_bucket(policy, user), now).await
}

/// The key of that bucket.
pub(crate) fn account_bucket(policy: &str, user: Uuid) -> Vec<u8> {
    [policy.as_bytes(), b"\0", user.as_bytes()].concat()
}

/// Takes one from the bucket of mails to this address.
pub(crate) async fn mail(
    app: &App,
    passwords: &Passwords,
    email: &Email,
    now: OffsetDateTime,
) -> Result<()> {
    let key = mail_bucket(passwords, &email.key());
    take(app, "mail", app.settings.mail.address, key, now).await
}

/// The key of that bucket, by the address in lower case. A MAC: addresses that strangers type are not
/// kept in readable form.
pub(crate) fn mail_bucket(passwords: &Passwords, email_key: &str) -> Vec<u8> {
    [b"mail\0".as_slice(), &passwords.identifier_mac(email_key)].concat()
}

/// Refuses when the bucket is empty, before work that comes to nothing then; takes nothing from it.
pub(crate) async fn look(
    app: &App,
    policy: &str,
    rate: Option<Rate>,
    key: &[u8],
    now: OffsetDateTime,
) -> Result<()> {
    let Some(rate) = rate else { return Ok(()) };
    remembered(app, policy, Some(rate), key, now)?;
    match app.db.run(buckets::look(app.db.pool(), key, rate, now)).await? {
        Some(until) => Err(empty(app, policy, Some(rate), key.to_owned(), (until, now))),
        None => Ok(()),
    }
}

/// Remembers that a bucket is empty, and the answer to that.
pub(crate) fn empty(
    app: &App,
    policy: &str,
    rate: Option<Rate>,
    key: Vec<u8>,
    (until, now): (OffsetDateTime, OffsetDateTime),
) -> Problem {
    app.refusals.remember(key, Refusal { until, ask_again: until }, now);
    rate_limit::refused(policy, rate, until, now)
}

/// Refuses what this process knows to be refused.
pub(crate) fn remembered(
    app: &App,
    policy: &str,
    rate: Option<Rate>,
    key: &[u8],
    now: OffsetDateTime,
) -> Result<()> {
    match app.refusals.find(key, now) {
        Some(until) => Err(rate_limit::refused(policy, rate, until, now)),
        None => Ok(()),
    }
}

async fn take(
    app: &App,
    policy: &str,
    rate: Option<Rate>,
    key: Vec<u8>,
    now: OffsetDateTime,
) -> Result<()> {
    let Some(rate) = rate else { return Ok(()) };
    remembered(app, policy, Some(rate), &key, now)?;
    let taken = app.db.run(buckets::take(app.db.pool(), &key, rate, now)).await?;
    taken.map_err(|until| empty(app, policy, Some(rate), key, (until, now)))
}
