//! `SMTP_URL`: the server that takes the mails, and how it is spoken to.

use std::net::IpAddr;
use std::time::Duration;

use lettre::{AsyncSmtpTransport, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Transport;
use crate::settings::Value;

/// What is accepted.
const SHAPE: &str = "an address like `smtps://user:password@host`, or `smtp://user:password@host?tls=required` for STARTTLS";

/// A checked address, its password included. Debug does not show it.
#[derive(Debug, Clone)]
pub struct Smtp(SecretString);

impl Value for Smtp {
    /// Mails carry links that let somebody in, so they go in the clear only to this machine itself, and
    /// TLS is never given up because a server does not offer it.
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || SHAPE.to_owned();
        let url = Url::parse(text).map_err(|_| wrong())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        let tls: Vec<_> = url.query_pairs().collect();
        match (url.scheme(), tls.as_slice()) {
            ("smtps", []) => {}
            ("smtp", [(name, value)]) if name == "tls" && value == "required" => {}
            ("smtp", []) if is_this_machine(host) => {}
            ("smtp", []) => {
                return Err(format!("{SHAPE}; without TLS only to this machine"));
            }
            _ => return Err(wrong()),
        }
        if url.password().is_none() != url.username().is_empty() {
            return Err(format!("{SHAPE}; user and password, or neither"));
        }
        AsyncSmtpTransport::<Tokio1Executor>::from_url(text).map_err(|_| wrong())?;
        Ok(Self(text.into()))
    }
}

/// Whether this host is reached without leaving the machine.
fn is_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl Smtp {
    /// The way to it; each word of the server is waited for as long as `timeout`.
    ///
    /// # Panics
    /// Never: the address was tried when it was parsed.
    pub fn transport(&self, timeout: Duration) -> Transport {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(self.0.expose_secret());
        let builder = builder.expect("parse tried it").timeout(Some(timeout));
        Transport::Smtp(builder.build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_gets_mail_in_the_clear() {
        for good in [
            "smtps://user:secret@mail.example.com",
            "smtps://mail.example.com:4650",
            "smtp://user:secret@mail.example.com?tls=required",
            "smtp://localhost:1025",
            "smtp://user:p%40ss@127.0.0.1:1025",
            "smtp://[::1]:1025",
        ] {
            assert!(Smtp::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "mail.example.com",
            "http://mail.example.com",
            "smtp://mail.example.com",
            "smtp://mail.example.com?tls=opportunistic",
            "smtp://localhost?tls=opportunistic",
            "smtp://localhost.example.com",
            "smtps://mail.example.com?tls=off",
            "smtps://user@mail.example.com",
            "smtp://",
        ] {
            let why = Smtp::parse(bad).map(|_| ()).unwrap_err();
            assert!(why.starts_with(SHAPE) && !why.contains("example.com?"), "{bad}: {why}");
        }
        let shown = format!("{:?}", Smtp::parse("smtps://user:secret@mail.example.com").unwrap());
        assert!(!shown.contains("secret@"), "{shown}");
    }
}
