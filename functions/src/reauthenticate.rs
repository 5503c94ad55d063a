//! The password once more, before what a stolen session must not be enough for.

use shared::access_token::Claims;
use shared::credentials::{Identifier, Password};
use shared::db::failures::{self, Bar, Failed, Place};
use shared::db::profile;
use shared::db::sign_in::{self, Account, Admission, CurrentPassword};
use shared::extract::Caller;
use shared::password::{Passwords, Verdict};
use shared::problem::{Code, Problem, Result};
use shared::rate_limit::{self, Refusal};
use time::OffsetDateTime;

use crate::App;

/// The caller's account and the password that was checked. What is then done must hold its
/// `changed_at` against the row, as the password may change meanwhile.
#[derive(Debug)]
pub(crate) struct Reauthenticated {
    /// The account.
    pub(crate) account: Account,
    /// When the password that was checked had been set.
    pub(crate) verified: OffsetDateTime,
}

/// Checks the password of whoever calls. Counted, locked and limited as a sign-in by name is, and under
/// the same counters: whoever holds a session has no more guesses than somebody without one.
///
/// # Errors
/// 401 `session_revoked`, 403 `wrong_password`, 429 `rate_limited`, 503 `unavailable`.
pub(crate) async fn reauthenticate(
    app: &App,
    passwords: &Passwords,
    claims: &Claims,
    password: &Password,
    caller: &Caller,
) -> Result<Reauthenticated> {
    let now = app.clock.now();
    let profile = app.db.run(profile::get(app.db.pool(), claims, now)).await?;
    let Ok(identifier) = Identifier::parse(profile.username) else { return Err(wrong()) };
    let subject = passwords.identifier_mac(identifier.key());
    let network = caller.address.network();
    let attempt = Attempt { app, identifier, subject, network };
    let account = attempt.admit(now).await?.filter(|account| account.id == claims.sub);
    let current = account.as_ref().and_then(|account| account.password.as_ref());
    let stored = current.map(|current| &current.stored);
    let verdict = passwords.verify(password, stored).await?;
    match (verdict, account) {
        (Verdict::Right(_), Some(account)) if account.active => {
            let verified =
                account.password.as_ref().map(|CurrentPassword { changed_at, .. }| *changed_at);
            let verified = verified.ok_or_else(wrong)?;
            Ok(Reauthenticated { account, verified })
        }
        _ => Err(attempt.fail(claims, caller).await),
    }
}

/// The refusal of a wrong password.
pub(crate) fn wrong() -> Problem {
    Problem::new(Code::WrongPassword)
}

/// An attempt, as sign-in counts it.
struct Attempt<'a> {
    app: &'a App,
    identifier: Identifier,
    subject: Vec<u8>,
    network: Vec<u8>,
}

impl Attempt<'_> {
    fn place(&self) -> Place<'_> {
        Place { subject: &self.subject, network: &self.network }
    }

    async fn admit(&self, now: OffsetDateTime) -> Result<Option<Account>> {
        let app = self.app;
        let bucket = [b"login\0".as_slice(), &self.network].concat();
        let lock = [b"lock\0".as_slice(), &self.subject, &self.network].concat();
        let known = [&bucket, &lock].into_iter().find_map(|key| app.refusals.find(key, now));
        if let Some(until) = known {
            return Err(self.refuse(until, now));
        }
        let (db, limits) = (&app.db, &app.settings.sign_in);
        let admit = sign_in::admit(db.pool(), &self.identifier, self.place(), &bucket, limits, now);
        let (key, until, ask_again) = match db.run(admit).await? {
            Admission::Admitted(account) => return Ok(account),
            Admission::BucketEmpty(until) => (bucket, until, until),
            Admission::Barred(bar) => {
                let until = self.until(bar, now);
                (lock, until, until.min(now + app.settings.lock_remembered))
            }
        };
        app.refusals.remember(key, Refusal { until, ask_again }, now);
        Err(self.refuse(until, now))
    }

    async fn fail(&self, claims: &Claims, caller: &Caller) -> Problem {
        let (db, now) = (&self.app.db, self.app.clock.now());
        let limits = &self.app.settings.sign_in;
        let (user, at) = (Some(claims.sub), (Failed::Password, self.place()));
        match db.run(failures::record(db.pool(), at, user, limits, caller, now)).await {
            Ok(None) => wrong(),
            Ok(Some(bar)) => self.refuse(self.until(bar, now), now),
            Err(error) => error.into(),
        }
    }

    fn refuse(&self, until: OffsetDateTime, now: OffsetDateTime) -> Problem {
        rate_limit::refused("login", self.app.settings.sign_in.address, until, now)
    }

    fn until(&self, bar: Bar, now: OffsetDateTime) -> OffsetDateTime {
        match bar {
            Bar::Locked(until) => until,
            Bar::Stopped => now + self.app.settings.lock_stop_retry,
        }
    }
}
