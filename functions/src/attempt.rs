//! An attempt with a password, as failures and limits count it: what refuses it before the hash, and
//! what a failed one is answered. Of a sign-in and of the password once more, alike: whoever holds a
//! session has no more guesses than somebody without one.

use shared::credentials::Identifier;
use shared::db;
use shared::db::failures::{self, Bar, Failed, Place};
use shared::db::sign_in::{self, Account, Admission, Whom};
use shared::extract::Caller;
use shared::password::Passwords;
use shared::problem::{Code, Problem, Result};
use shared::rate_limit::{self, Refusal};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::App;

/// What the bucket of attempts and their 429 are called.
const POLICY: &str = "login";

/// An attempt of somebody from a network.
pub(crate) struct Attempt<'a> {
    app: &'a App,
    whom: Whom<'a>,
    subject: Vec<u8>,
    network: Vec<u8>,
}

impl<'a> Attempt<'a> {
    /// Of this identifier, by whoever calls.
    pub(crate) fn new(
        app: &'a App,
        passwords: &Passwords,
        identifier: &'a Identifier,
        caller: &Caller,
    ) -> Self {
        let (whom, name) = (Whom::Identifier(identifier), identifier.key());
        let (subject, network) = (passwords.identifier_mac(name), caller.address.network());
        Self { app, whom, subject, network }
    }

    /// Of the account of a session, counted as those of its name.
    pub(crate) fn again(
        app: &'a App,
        passwords: &Passwords,
        (user, username): (Uuid, &str),
        caller: &Caller,
    ) -> Self {
        let subject = passwords.identifier_mac(&username.to_lowercase());
        Self { app, whom: Whom::Account(user), subject, network: caller.address.network() }
    }

    /// Where its failures are counted.
    pub(crate) fn place(&self) -> Place<'_> {
        Place { subject: &self.subject, network: &self.network }
    }

    /// Every refusal that comes before the hash, and the account's row. A lock, a stop and an empty
    /// bucket answer alike, for known and unknown identifiers.
    pub(crate) async fn admit(&self) -> Result<Option<Account>> {
        let (app, now) = (self.app, self.app.clock.now());
        let limits = &app.settings.sign_in;
        let bucket = [POLICY.as_bytes(), b"\0", &self.network].concat();
        let lock = [b"lock\0".as_slice(), &self.subject, &self.network].concat();
        let known = [&bucket, &lock].into_iter().find_map(|key| app.refusals.find(key, now));
        if let Some(until) = known {
            return Err(rate_limit::refused(POLICY, limits.address, until, now));
        }
        let db = &app.db;
        let admit = sign_in::admit(db.pool(), self.whom, self.place(), &bucket, limits, now);
        let (key, until, ask_again) = match db.run(admit).await? {
            Admission::Admitted(account) => return Ok(account),
            Admission::BucketEmpty(until) => (bucket, until, until),
            Admission::Barred(bar) => {
                let until = until(app, bar, now);
                (lock, until, until.min(now + app.settings.lock_remembered))
            }
        };
        tracing::info!("sign-in refused by a limit");
        app.refusals.remember(key, Refusal { until, ask_again }, now);
        Err(rate_limit::refused(POLICY, limits.address, until, now))
    }

    /// Counts a wrong password, for which this is the answer.
    pub(crate) async fn fail(&self, user: Option<Uuid>, wrong: Code, caller: &Caller) -> Problem {
        let (db, now) = (&self.app.db, self.app.clock.now());
        let (at, limits) = ((Failed::Password, self.place()), &self.app.settings.sign_in);
        let recorded = db.run(failures::record(db.pool(), at, user, limits, caller, now)).await;
        self.recorded(recorded, wrong, now)
    }

    /// As [`recorded`].
    pub(crate) fn recorded(&self, recorded: Recorded, code: Code, now: OffsetDateTime) -> Problem {
        self::recorded(self.app, POLICY, recorded, code, now)
    }

    /// The refusal by a lock or stop that was imposed while the hash was computed.
    pub(crate) fn barred(&self, bar: Bar, now: OffsetDateTime) -> Problem {
        barred(self.app, POLICY, bar, now)
    }
}

/// What a statement that writes a failure down says: a lock or stop that was imposed meanwhile, and so
/// nothing was judged; or none.
pub(crate) type Recorded = std::result::Result<Option<Bar>, db::Error>;

/// The answer of a failure that was written down: this problem, unless nothing was judged.
pub(crate) fn recorded(
    app: &App,
    policy: &str,
    recorded: Recorded,
    code: Code,
    now: OffsetDateTime,
) -> Problem {
    match recorded {
        Ok(None) => Problem::new(code),
        Ok(Some(bar)) => barred(app, policy, bar, now),
        Err(error) => error.into(),
    }
}

/// The refusal by a lock or stop.
pub(crate) fn barred(app: &App, policy: &str, bar: Bar, now: OffsetDateTime) -> Problem {
    rate_limit::refused(policy, app.settings.sign_in.address, until(app, bar, now), now)
}

/// When a client is told to come back.
fn until(app: &App, bar: Bar, now: OffsetDateTime) -> OffsetDateTime {
    match bar {
        Bar::Locked(until) => until,
        Bar::Stopped => now + app.settings.lock_stop_retry,
    }
}
