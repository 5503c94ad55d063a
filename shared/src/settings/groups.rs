//! Settings that the functions and the realtime node have in common.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::{Bytes, Reader, Value};
use crate::client_address::Mode;

/// How Postgres is reached.
#[derive(Debug, Clone)]
pub struct Database {
    /// `DATABASE_URL`: a `postgres://` URL, its password included.
    pub url: SecretString,
    /// `DATABASE_POOL`: connections at most.
    pub pool: u32,
    /// `DATABASE_TIMEOUT`: the wait for a connection and a statement's answer, together.
    pub timeout: Duration,
    /// `DATABASE_TRUSTED_IDLE`: a connection idle for longer is tried before it is used.
    pub trusted_idle: Duration,
}

impl Database {
    /// Reads the group; the address is required.
    pub fn read(reader: &mut Reader) -> Self {
        let url = reader.required::<String>(
            "DATABASE_URL",
            "Address of Postgres, such as `postgres://user:password@host/name`.",
        );
        Self::at(url, reader)
    }

    /// Reads the group but for the address, which the caller knows.
    pub fn at(url: impl Into<SecretString>, reader: &mut Reader) -> Self {
        let url = url.into();
        let shown = url.expose_secret();
        if !shown.is_empty() && shown.parse::<PgConnectOptions>().is_err() {
            reader.refuse("DATABASE_URL: an address like `postgres://user:password@host/name`");
        }
        Self {
            url,
            pool: reader.get_in(
                "DATABASE_POOL",
                "10",
                ("1", "1000"),
                "Connections to Postgres at most. More let more statements run at once and cost the server memory.",
            ),
            timeout: reader.get_in(
                "DATABASE_TIMEOUT",
                "2s",
                ("100ms", "10min"),
                "Longest wait for a connection and a statement's answer together; then 503. A connection that is tried has a quarter of it to answer, and so have session checks that share a statement; after those fail, none is shared for as long as the whole.",
            ),
            trusted_idle: reader.get_in(
                "DATABASE_TRUSTED_IDLE",
                "1s",
                ("0", "1h"),
                "A connection idle for longer is tried before it is used, at the cost of a round trip: Postgres may have restarted.",
            ),
        }
    }
}

/// How long Secrets Manager is waited for.
#[derive(Debug, Clone, Copy)]
pub struct SecretsWaits {
    /// `SECRETS_ATTEMPT_TIMEOUT`: for one attempt.
    pub attempt: Duration,
    /// `SECRETS_TIMEOUT`: for all attempts.
    pub all: Duration,
}

impl SecretsWaits {
    /// Reads the group.
    pub fn read(reader: &mut Reader) -> Self {
        let waits = Self {
            attempt: reader.get_in(
                "SECRETS_ATTEMPT_TIMEOUT",
                "3s",
                ("100ms", "1min"),
                "On Lambda: longest wait for one answer of Secrets Manager; then it is asked again.",
            ),
            all: reader.get_in(
                "SECRETS_TIMEOUT",
                "8s",
                ("100ms", "1min"),
                "On Lambda: longest wait for a secret, attempts and pauses together; Lambda allows a start 10 s.",
            ),
        };
        if waits.attempt > waits.all {
            reader.refuse("SECRETS_ATTEMPT_TIMEOUT: at most SECRETS_TIMEOUT");
        }
        waits
    }
}

/// What holds for every HTTP request.
#[derive(Debug, Clone)]
pub struct Http {
    /// `PUBLIC_URL`: the address that users see.
    pub public_url: Option<Url>,
    /// `ALLOWED_ORIGINS`: origins allowed beside `PUBLIC_URL`'s, each `scheme://host[:port]`.
    pub allowed_origins: Vec<Origin>,
    /// `HOST_CHECK`: whether only known Host names are answered.
    pub host_check: bool,
    /// `CLIENT_ADDRESS`: where the client's address is read.
    pub client_address: Mode,
    /// `ORIGIN_VERIFY`: the secret that CloudFront sends as `X-Origin-Verify`.
    pub origin_verify: Option<SecretString>,
    /// `BODY_BYTES`: the largest request body.
    pub body_bytes: Bytes,
    /// `BODY_TIMEOUT`: the longest wait for a whole request body.
    pub body_timeout: Duration,
    /// `PREFLIGHT_MAX_AGE`: how long a browser may remember which cross-origin calls are allowed.
    pub preflight_max_age: Duration,
}

impl Http {
    /// Reads the group; `host_check` is the default for this kind of process, `on` or `off`.
    pub fn read(reader: &mut Reader, host_check: &str) -> Self {
        let http = Self {
            public_url: reader.optional(
                "PUBLIC_URL",
                "The address that users see, such as `https://app.example.com`; every link is built from it and its origin may connect. `cargo run` takes `http://localhost:` and its port.",
            ),
            allowed_origins: reader.get(
                "ALLOWED_ORIGINS",
                "",
                "Further origins whose pages may call the API and open sockets, exact and comma-separated.",
            ),
            host_check: reader.get(
                "HOST_CHECK",
                host_check,
                "`on`: answer only to the Host names `localhost`, `127.0.0.1`, `[::1]` and `PUBLIC_URL`'s, else 421; stops DNS rebinding. On by default under `cargo run`.",
            ),
            client_address: reader.get(
                "CLIENT_ADDRESS",
                "peer",
                "Where the client's address is read: `peer` (the socket), `gateway` (API Gateway's sourceIp) or `cloudfront` (CloudFront-Viewer-Address beside the right X-Origin-Verify).",
            ),
            origin_verify: reader.optional(
                "ORIGIN_VERIFY",
                "The generated secret that CloudFront sends as `X-Origin-Verify`; needed by `CLIENT_ADDRESS=cloudfront`.",
            ),
            body_bytes: reader.get_in(
                "BODY_BYTES",
                "16 KiB",
                ("1 KiB", "1 MiB"),
                "Largest request body; a larger one is 413.",
            ),
            body_timeout: reader.get_in(
                "BODY_TIMEOUT",
                "10s",
                ("100ms", "60s"),
                "Longest wait for a whole request body; then 408.",
            ),
            preflight_max_age: reader.get_in(
                "PREFLIGHT_MAX_AGE",
                "10min",
                ("0", "24h"),
                "How long a browser may remember what `ALLOWED_ORIGINS` lets its page do; a shorter one makes it ask more often.",
            ),
        };
        if http.origin_verify.as_ref().is_some_and(|secret| secret.expose_secret().len() < 16) {
            reader.refuse("ORIGIN_VERIFY: a generated secret of at least 16 characters");
        }
        if http.client_address == Mode::Cloudfront && http.origin_verify.is_none() {
            reader.refuse("CLIENT_ADDRESS=cloudfront needs ORIGIN_VERIFY, the generated secret that CloudFront sends");
        }
        http
    }
}

/// An origin, serialised as browsers send it: `scheme://host[:port]`, lower case, no path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// The origin of a URL.
    pub fn of(url: &Url) -> Self {
        Self(url.origin().ascii_serialization())
    }

    /// The serialised form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for Origin {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "an origin like `https://app.example.com`, without a path".to_owned();
        let url = Url::parse(text).map_err(|_| wrong())?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if bare && url.origin().is_tuple() { Ok(Self::of(&url)) } else { Err(wrong()) }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text at a terminal, JSON elsewhere.
    Auto,
    /// One readable line each.
    Text,
    /// One JSON object a line.
    Json,
}

impl Value for LogFormat {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("`auto`, `text` or `json`".to_owned()),
        }
    }
}

/// What is logged and how.
#[derive(Debug, Clone)]
pub struct Log {
    /// `LOG`: a filter such as `info` or `info,realtime=debug`.
    pub filter: String,
    /// `LOG_FORMAT`.
    pub format: LogFormat,
}

impl Log {
    /// Reads the group.
    pub fn read(reader: &mut Reader) -> Self {
        let log = Self {
            filter: reader.get(
                "LOG",
                "info",
                "What is logged, such as `warn` or `info,realtime=debug`.",
            ),
            format: reader.get(
                "LOG_FORMAT",
                "auto",
                "`text`, `json`, or `auto`: text at a terminal, JSON elsewhere.",
            ),
        };
        if let Err(why) = EnvFilter::try_new(&log.filter) {
            reader.refuse(format!("LOG: {why}"));
        }
        log
    }
}
