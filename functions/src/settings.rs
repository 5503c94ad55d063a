//! Settings of the functions.

mod accounts;
mod factors;
pub mod lambda;
pub mod mail;

use std::thread::available_parallelism;
use std::time::Duration;

use shared::db::failures::Limits;
use shared::password::{Hashing, Rules};
use shared::settings::{Http, Rate, Reader, Tokens, Value};

pub use accounts::Accounts;
pub use factors::Factors;

/// Where the functions run: some defaults differ, and Lambda refuses to run without limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// One process on a machine of one's own.
    Process,
    /// AWS Lambda behind API Gateway.
    Lambda,
}

/// Whether people may register, setting `REGISTRATION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Anybody may.
    Open,
    /// Nobody may.
    Closed,
}

impl Value for Registration {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            _ => Err("`open` or `closed`".to_owned()),
        }
    }
}

/// Everything the functions can be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What holds for every request.
    pub http: Http,
    /// What access tokens say.
    pub tokens: Tokens,
    /// `REGISTRATION`.
    pub registration: Registration,
    /// How passwords are hashed.
    pub hashing: Hashing,
    /// What a new password must be.
    pub rules: Rules,
    /// `LIMIT_REGISTER_ADDRESS`.
    pub register_address: Option<Rate>,
    /// The limits of sign-in.
    pub sign_in: Limits,
    /// `LIMIT_REFRESH_ADDRESS`.
    pub refresh_address: Option<Rate>,
    /// `REFRESH_GRACE`: a refresh token is good for the same successor this long after its rotation.
    pub refresh_grace: Duration,
    /// Second factors and passkeys.
    pub factors: Factors,
    /// `LOCK_STOP_RETRY`: Retry-After of a stopped identifier.
    pub lock_stop_retry: Duration,
    /// `LOCK_REMEMBERED`: how long a lock or stop is believed without asking the database.
    pub lock_remembered: Duration,
    /// `REFUSALS_REMEMBERED`: refusals held in the memory of a process.
    pub refusals_remembered: usize,
    /// `JWKS_MAX_AGE`: how long others may keep the public keys.
    pub jwks_max_age: Duration,
    /// `SESSION_IDLE`: a session ends this long after its last refresh.
    pub session_idle: Duration,
    /// `SESSION_ABSOLUTE`: a session ends this long after sign-in.
    pub session_absolute: Duration,
    /// What one account may ask for.
    pub accounts: Accounts,
    /// Who may ask for mail, and how long its links work.
    pub mail: mail::Asking,
    /// How mail is sent, and what is old removed.
    pub courier: mail::Courier,
}

impl Settings {
    /// Reads them all; what is wrong is told by [`Reader::finish`].
    pub fn read(reader: &mut Reader, platform: Platform) -> Self {
        let settings = Self {
            http: Http::read(reader, if platform == Platform::Lambda { "off" } else { "on" }),
            tokens: Tokens::read(reader),
            registration: reader.get(
                "REGISTRATION",
                "open",
                "`closed`: `/register` answers 403, and nobody makes an account.",
            ),
            hashing: hashing(reader),
            rules: rules(reader),
            register_address: reader.get(
                "LIMIT_REGISTER_ADDRESS",
                "1000/h burst 100",
                "Registrations from one network (IPv4 /32, IPv6 /64); `off` for none.",
            ),
            sign_in: sign_in(reader),
            refresh_address: reader.get(
                "LIMIT_REFRESH_ADDRESS",
                "600/min burst 100",
                "Refreshes from one network (IPv4 /32, IPv6 /64), right or wrong; `off` for none.",
            ),
            refresh_grace: reader.get_in(
                "REFRESH_GRACE",
                "30s",
                ("0", "5min"),
                "A refresh token that was just rotated still gives the same successor so long, for tabs that refresh at once; longer while nobody has used the successor.",
            ),
            factors: Factors::read(reader),
            lock_stop_retry: reader.get_in(
                "LOCK_STOP_RETRY",
                "1h",
                ("1s", "24h"),
                "What a stopped identifier is told to wait (Retry-After); the stop ends by itself after LOCK_FORGET.",
            ),
            lock_remembered: reader.get_in(
                "LOCK_REMEMBERED",
                "5s",
                ("0", "1min"),
                "How long a process believes a lock or stop without asking the database; an administrator's unlock is seen that much later, and a guesser costs that much less.",
            ),
            refusals_remembered: reader.get_in(
                "REFUSALS_REMEMBERED",
                "10000",
                ("100", "1000000"),
                "Refusals that a process remembers, some 200 bytes each; those beyond cost a statement each again.",
            ),
            jwks_max_age: reader.get_in(
                "JWKS_MAX_AGE",
                "5min",
                ("0", "5min"),
                "How long others may keep `/.well-known/jwks.json`.",
            ),
            session_idle: reader.get_in(
                "SESSION_IDLE",
                "7d",
                ("1min", "3650d"),
                "A session ends this long after its last refresh.",
            ),
            session_absolute: reader.get_in(
                "SESSION_ABSOLUTE",
                "30d",
                ("1min", "3650d"),
                "A session ends this long after sign-in, however often it is refreshed.",
            ),
            accounts: Accounts::read(reader),
            mail: mail::Asking::read(reader),
            courier: mail::Courier::read(reader),
        };
        if [settings.sign_in.lock_after, settings.sign_in.lock_stop].contains(&Some(0)) {
            reader.refuse("LOCK_AFTER, LOCK_STOP: at least 1, or `off`");
        }
        if settings.sign_in.lock_max > settings.sign_in.forget {
            reader.refuse("LOCK_MAX: at most LOCK_FORGET, or the count is forgotten during a lock");
        }
        if settings.lock_stop_retry > settings.sign_in.forget {
            reader.refuse("LOCK_STOP_RETRY: at most LOCK_FORGET, or it outlasts the stop");
        }
        if platform == Platform::Lambda {
            if settings.hashing.cost < 10 {
                reader.refuse("BCRYPT_COST: at least 10 on Lambda");
            }
            for name in settings.limits_off() {
                reader.refuse(format!("{name}=off is for a machine of one's own, not for Lambda"));
            }
        }
        settings
    }

    /// Names of the limits that are off, to be warned about at start.
    pub fn limits_off(&self) -> Vec<&'static str> {
        [
            (self.register_address.is_none(), "LIMIT_REGISTER_ADDRESS"),
            (self.sign_in.address.is_none(), "LIMIT_LOGIN_ADDRESS"),
            (self.refresh_address.is_none(), "LIMIT_REFRESH_ADDRESS"),
            (self.factors.passkey_address.is_none(), "LIMIT_PASSKEY_ADDRESS"),
            (self.sign_in.lock_after.is_none(), "LOCK_AFTER"),
            (self.sign_in.lock_stop.is_none(), "LOCK_STOP"),
            (self.mail.address.is_none(), "LIMIT_MAIL_ADDRESS"),
            (self.mail.network.is_none(), "LIMIT_RECOVERY_ADDRESS"),
            (self.accounts.profile.is_none(), "LIMIT_PROFILE_ACCOUNT"),
            (self.accounts.export.is_none(), "LIMIT_EXPORT_ACCOUNT"),
        ]
        .into_iter()
        .filter_map(|(off, name)| off.then_some(name))
        .collect()
    }
}

fn hashing(reader: &mut Reader) -> Hashing {
    let cores = available_parallelism().map_or(1, std::num::NonZero::get);
    let hashing = Hashing {
        cost: reader.get_in("BCRYPT_COST", "12", ("4", "15"),
            "Cost of new hashes, 4 to 15; each step doubles the work of a sign-in; below 10 is for tests only. After lowering it, an account whose hash is costlier can be told by its time until it signs in.",
        ),
        threads: reader.get_in("BCRYPT_THREADS", "0", ("0", "1024"),
            "Hashes computed at once; 0 is one a core.",
        ),
        wait: reader.get_in("BCRYPT_WAIT", "2s", ("100ms", "60s"),
            "Longest wait for a free hashing thread; then 503.",
        ),
    };
    Hashing { threads: if hashing.threads == 0 { cores } else { hashing.threads }, ..hashing }
}

fn rules(reader: &mut Reader) -> Rules {
    Rules {
        min: reader.get_in("PASSWORD_MIN", "8", ("1", "128"),
            "Shortest new password, in code points; NIST SP 800-63B-4 asks for 15 where nothing but the password protects.",
        ),
        policy: reader.get(
            "PASSWORD_POLICY",
            "basic",
            "`strict`: refuse common passwords and those like the username. The AWS template sets it.",
        ),
    }
}

fn sign_in(reader: &mut Reader) -> Limits {
    Limits {
        address: reader.get(
            "LIMIT_LOGIN_ADDRESS",
            "60/min burst 30",
            "Sign-ins from one network (IPv4 /32, IPv6 /64), right or wrong; `off` for none.",
        ),
        lock_after: reader.get(
            "LOCK_AFTER",
            "5",
            "Failures of one identifier from one network before it is locked there: 1 s, then twice as long with each further failure; `off` for none.",
        ),
        lock_max: reader.get_in("LOCK_MAX", "900s", ("1s", "24h"), "Longest such lock."),
        lock_stop: reader.get(
            "LOCK_STOP",
            "100",
            "Consecutive failures of one identifier from all networks before it is stopped for those that do not count as known; `off` for none.",
        ),
        forget: reader.get_in(
            "LOCK_FORGET",
            "24h",
            ("1min", "30d"),
            "Failures this long after the last one no longer count; a stop ends then, too.",
        ),
        known: reader.get_in(
            "KNOWN_NETWORK",
            "30d",
            ("1min", "3650d"),
            "How long a network that signed an identifier in stays known to it, and is exempt from its stop.",
        ),
    }
}

#[cfg(test)]
mod tests;
