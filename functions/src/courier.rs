//! The courier: sends what waits in the outbox, and removes what is old.
//!
//! **At least once.** A try is counted before it is made, and a mail counts as sent once a server took
//! it and that is written down. A courier that dies in between, or loses the database just then, leaves
//! a mail that is sent again, with the same Message-ID. None is lost but those that are given up after
//! `MAIL_ATTEMPTS` tries, which is logged, and those whose link no longer works when their turn comes.
//!
//! **None blocks another.** Mails are tried at once, each on its own for at most `MAIL_TIMEOUT`; one
//! that fails is put off, longer each time; one that brings its task down has been counted all the same.
//!
//! Any number of couriers may work on one outbox.

use std::sync::Arc;
use std::time::Duration;

use shared::db::cleanup::Step;
use shared::db::outbox::{self, Due, Outcome, Token, TokenRow};
use shared::mail::letter::Kind;
use shared::mail::{Captured, Letter, Mail, Mailer, Sender, Transport};
use shared::secret_token::{self, Purpose, Row};
use shared::secrets::Links;
use shared::settings::Value;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::App;

/// Rows that one statement of a clean-up takes. No setting: it bounds how long their locks are held.
const STEP_ROWS: u32 = 1_000;
/// Such statements for one table in one clean-up; what is left waits for the next.
const STEPS_MOST: usize = 50;
/// Whom captured mails are from where `MAIL_FROM` is not set.
const NOBODY: &str = "Keywire <no-reply@localhost>";

/// Why a courier cannot work with these settings.
#[derive(Debug, thiserror::Error)]
pub enum WrongMail {
    /// Links are built from it.
    #[error("PUBLIC_URL is not set: the links in mails lead there")]
    NoPublicUrl,
    /// There is nothing to send with.
    #[error("SMTP_URL is not set: mails could not be sent")]
    NoServer,
}

/// Sends mails and cleans up; its parts are shared by all copies.
#[derive(Debug, Clone)]
pub struct Courier {
    app: App,
    links: Arc<Links>,
    mailer: Mailer,
    public_url: Url,
    /// When the last clean-up began.
    cleaned_at: Arc<Mutex<Option<OffsetDateTime>>>,
}

impl Courier {
    /// A courier that sends by `SMTP_URL`.
    ///
    /// # Errors
    /// [`WrongMail`] without that or without `PUBLIC_URL`.
    pub fn sending(app: &App, links: Links) -> Result<Self, WrongMail> {
        let settings = &app.settings.courier;
        let smtp = settings.smtp.as_ref().ok_or(WrongMail::NoServer)?;
        Self::by(app, links, smtp.transport(settings.timeout))
    }

    /// A courier that keeps mails in memory.
    ///
    /// # Errors
    /// [`WrongMail`] without `PUBLIC_URL`.
    pub fn capturing(app: &App, links: Links, captured: Captured) -> Result<Self, WrongMail> {
        Self::by(app, links, Transport::Captured(captured))
    }

    fn by(app: &App, links: Links, transport: Transport) -> Result<Self, WrongMail> {
        let public_url = app.settings.http.public_url.clone().ok_or(WrongMail::NoPublicUrl)?;
        let settings = &app.settings.courier;
        let from = settings.from.clone().unwrap_or_else(|| {
            Sender::parse(NOBODY).unwrap_or_else(|why| panic!("{NOBODY}: {why}"))
        });
        let host = public_url.host_str().unwrap_or_default();
        let mailer = Mailer::new(from, host, settings.timeout, transport);
        let (app, links) = (app.clone(), Arc::new(links));
        Ok(Self { app, links, mailer, public_url, cleaned_at: Arc::default() })
    }

    /// Works until `end` is there, and finishes the batch it is at then.
    pub async fn run(&self, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        let interval = self.app.settings.courier.interval;
        let mut away = false;
        loop {
            let began = Instant::now();
            let full = match self.step().await {
                Ok(full) => {
                    away = false;
                    full
                }
                Err(error) => {
                    // Said once: it is tried again every two seconds.
                    if !away {
                        tracing::warn!(%error, "no mail can be sent while the database is away");
                    }
                    away = true;
                    false
                }
            };
            let pause = if full { Duration::ZERO } else { interval };
            tokio::select! {
                biased;
                () = &mut end => return,
                () = sleep(pause.saturating_sub(began.elapsed())) => {}
            }
        }
    }

    /// Sends all that is due, and cleans up when it is time.
    ///
    /// # Errors
    /// When the database is away, or something is wrong with a statement.
    pub async fn round(&self) -> Result<(), shared::db::Error> {
        while self.step().await? {}
        Ok(())
    }

    /// Sends a batch of what is due, and cleans up when it is time; whether the batch was full.
    async fn step(&self) -> Result<bool, shared::db::Error> {
        let full = self.send_batch().await?;
        self.clean_up().await?;
        Ok(full)
    }

    /// Takes what is due, `MAIL_BATCH` at most, and tries each; whether there were so many.
    async fn send_batch(&self) -> Result<bool, shared::db::Error> {
        let (db, settings) = (&self.app.db, &self.app.settings.courier);
        // Past the end of every try of this batch, its writing down included.
        let lease = settings.timeout * 2 + Duration::from_secs(10);
        let now = self.app.clock.now();
        let take = outbox::take(db.pool(), settings.batch, now + lease, now);
        let due = db.run(take).await?;
        let full = due.len() == usize::try_from(settings.batch).unwrap_or(usize::MAX);
        let mut tries = JoinSet::new();
        for mail in due {
            let courier = self.clone();
            tries.spawn(async move { courier.deliver(&mail).await });
        }
        let mut written = Ok(full);
        while let Some(tried) = tries.join_next().await {
            match tried {
                Ok(Ok(())) => {}
                // The others are waited for: dropped half-way, they would be sent twice.
                Ok(Err(error)) => written = Err(error),
                Err(error) => tracing::error!(%error, "a mail's task has failed"),
            }
        }
        written
    }

    /// Tries one mail and writes down what became of it.
    async fn deliver(&self, due: &Due) -> Result<(), shared::db::Error> {
        let (db, settings) = (&self.app.db, &self.app.settings.courier);
        if due.attempts > settings.attempts {
            // Its last try was made, and never written down.
            return self.give_up(due).await;
        }
        let now = self.app.clock.now();
        let Some(kind) = Kind::find(&due.kind) else {
            tracing::warn!(mail.id = %due.id, kind = due.kind, "a mail is left to a newer release");
            return self.put_off(due).await;
        };
        let Some((to, letter)) = self.letter(kind, due, now) else {
            let ended = outbox::end(db.pool(), due.id, Outcome::Obsolete, now);
            return db.run(ended).await;
        };
        let mail = Mail { id: due.id, to, letter: &letter, at: now };
        match self.mailer.send(mail).await {
            Ok(()) => {
                tracing::info!(mail.id = %due.id, kind = due.kind, "mail sent");
                let ended = outbox::end(db.pool(), due.id, Outcome::Sent, self.app.clock.now());
                db.run(ended).await
            }
            Err(error) => {
                let attempts = due.attempts;
                tracing::warn!(mail.id = %due.id, kind = due.kind, attempts, %error, "mail not sent");
                if attempts == settings.attempts {
                    self.give_up(due).await
                } else {
                    self.put_off(due).await
                }
            }
        }
    }

    async fn put_off(&self, due: &Due) -> Result<(), shared::db::Error> {
        let (db, pause) = (&self.app.db, self.app.settings.courier.pause(due.attempts));
        db.run(outbox::put_off(db.pool(), due.id, self.app.clock.now() + pause)).await
    }

    async fn give_up(&self, due: &Due) -> Result<(), shared::db::Error> {
        let db = &self.app.db;
        tracing::error!(mail.id = %due.id, kind = due.kind, "mail given up: look at SMTP_URL");
        db.run(outbox::end(db.pool(), due.id, Outcome::GivenUp, self.app.clock.now())).await
    }

    /// What is said, and to which address; `None` when there is nothing to say any more.
    fn letter<'a>(
        &self,
        kind: Kind,
        due: &'a Due,
        now: OffsetDateTime,
    ) -> Option<(&'a str, Letter)> {
        let name = due.username.as_str();
        match (kind, &due.token) {
            (Kind::Verify, Token::Row(TokenRow { owner: Some(owner), used: false, .. })) => {
                Some((&owner.email, Letter::owned(&owner.username)))
            }
            (Kind::Verify, Token::Row(token)) => {
                let (link, valid) = self.link(due, Purpose::Verify, token, now)?;
                Some((&token.target, Letter::verify(name, link, valid)))
            }
            // Not to an address that was the account's when it was asked for.
            (Kind::Reset, Token::Row(token)) if due.email.as_ref() == Some(&token.target) => {
                let (link, valid) = self.link(due, Purpose::Reset, token, now)?;
                Some((&token.target, Letter::reset(name, link, valid)))
            }
            (Kind::EmailChanged, Token::Row(token)) => {
                Some((&token.target, Letter::email_changed(name)))
            }
            (Kind::PasswordChanged, _) => {
                Some((due.email.as_deref()?, Letter::password_changed(name)))
            }
            (Kind::Factors(change), _) => {
                Some((due.email.as_deref()?, Letter::factors_changed(name, change)))
            }
            (Kind::Verify | Kind::Reset | Kind::EmailChanged, _) => None,
        }
    }

    /// The link and how long it works from when it was asked for, unless that is over.
    fn link(
        &self,
        due: &Due,
        purpose: Purpose,
        token: &TokenRow,
        now: OffsetDateTime,
    ) -> Option<(secrecy::SecretString, Duration)> {
        if token.used || token.expires_at <= now {
            return None;
        }
        let row = Row { id: token.id, purpose, user: due.user, target: &token.target };
        let secret = secret_token::issue(&self.links, row);
        let valid = Duration::try_from(token.expires_at - token.created_at).unwrap_or_default();
        Some((secret_token::link(&self.public_url, purpose, &secret), valid))
    }

    /// Removes what is old, when `CLEANUP_INTERVAL` has passed since the last time.
    async fn clean_up(&self) -> Result<(), shared::db::Error> {
        let mut cleaned_at = self.cleaned_at.lock().await;
        let (now, settings) = (self.app.clock.now(), &self.app.settings.courier);
        if cleaned_at.is_some_and(|at| now < at + settings.cleanup_interval) {
            return Ok(());
        }
        *cleaned_at = Some(now);
        for step in [
            Step::Buckets,
            Step::Failures { forget: self.app.settings.sign_in.forget },
            Step::Sessions,
            Step::Names,
            Step::Challenges,
            Step::Tokens,
            Step::Outbox { keep: settings.outbox_keep },
            Step::Audit { keep: settings.audit_keep },
        ] {
            let removed = self.take_steps(step, now).await?;
            if removed > 0 {
                tracing::debug!(table = step.name(), rows = removed, "cleaned up");
            }
        }
        Ok(())
    }

    /// Takes a step until it finds less than it may take.
    async fn take_steps(&self, step: Step, now: OffsetDateTime) -> Result<u64, shared::db::Error> {
        let db = &self.app.db;
        let mut all = 0;
        for _ in 0..STEPS_MOST {
            let found = db.run(step.take(db.pool(), STEP_ROWS, now)).await?;
            all += found;
            if found < u64::from(STEP_ROWS) {
                break;
            }
        }
        Ok(all)
    }
}
