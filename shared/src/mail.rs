//! Mail: the message around a letter, and the ways by which it leaves.
//!
//! Neither addresses nor tokens reach the log: a server's answer may repeat an address, so of a failure
//! only its kind and status are told.

pub mod captured;
pub mod letter;
mod smtp;

use std::time::{Duration, SystemTime};

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use time::OffsetDateTime;

pub use captured::Captured;
pub use letter::Letter;
pub use smtp::Smtp;

use crate::settings::Value;

/// The one that mails are from, `MAIL_FROM`.
#[derive(Debug, Clone)]
pub struct Sender(Mailbox);

impl Value for Sender {
    fn parse(text: &str) -> Result<Self, String> {
        let mailbox = text.parse();
        mailbox.map(Self).map_err(|_| "like `Example <no-reply@example.com>`".to_owned())
    }
}

/// Whether this text is an address that mail can be sent to.
pub(crate) fn is_address(text: &str) -> bool {
    text.parse::<Address>().is_ok()
}

/// A letter with what the message around it says.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    /// Part of the Message-ID: the same for every try, so that a mail that was sent twice is shown once
    /// by programs that look for that.
    pub id: uuid::Uuid,
    /// The address it goes to.
    pub to: &'a str,
    /// What is said.
    pub letter: &'a Letter,
    /// When it is sent.
    pub at: OffsetDateTime,
}

/// Why a mail did not leave.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The address or a header cannot be written.
    #[error("the message cannot be built")]
    Message,
    /// Nobody answered in time.
    #[error("the mail server did not answer in time")]
    Timeout,
    /// The server said no, with this status (RFC 5321 §4.2).
    #[error("the mail server refused with {0}")]
    Refused(u16),
    /// It could not be talked to as `SMTP_URL` says: TLS, a broken connection.
    #[error("no connection to the mail server as SMTP_URL wants it: {0}")]
    Connection(&'static str),
}

/// Sends mails.
#[derive(Debug, Clone)]
pub struct Mailer {
    from: Mailbox,
    /// The right half of every Message-ID.
    host: String,
    /// For one mail, from connecting to the server's last word.
    timeout: Duration,
    transport: Transport,
}

/// How mails leave.
#[derive(Debug, Clone)]
pub enum Transport {
    /// To a server, a connection for each mail.
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    /// To this process's memory, where `/dev/mail` shows them.
    Captured(Captured),
}

impl Mailer {
    /// A mailer; `host` is that of `PUBLIC_URL`.
    pub fn new(from: Sender, host: &str, timeout: Duration, transport: Transport) -> Self {
        Self { from: from.0, host: host.to_owned(), timeout, transport }
    }

    /// Sends one mail. That a server took it is all that can be known.
    ///
    /// # Errors
    /// [`SendError`]; another try may succeed.
    pub async fn send(&self, mail: Mail<'_>) -> Result<(), SendError> {
        match &self.transport {
            Transport::Captured(captured) => {
                captured.keep(mail);
                Ok(())
            }
            Transport::Smtp(smtp) => {
                let sending = smtp.send(self.message(mail)?);
                let sent = tokio::time::timeout(self.timeout, sending).await;
                sent.map_err(|_| SendError::Timeout)?.map(|_| ()).map_err(|error| failure(&error))
            }
        }
    }

    fn message(&self, mail: Mail<'_>) -> Result<Message, SendError> {
        let Mail { id, to, letter, at } = mail;
        let to: Address = to.parse().map_err(|_| SendError::Message)?;
        // RFC 3834 §5: no out-of-office answers this.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let automatic = HeaderValue::new(automatic, "auto-generated".to_owned());
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(letter.subject())
            .message_id(Some(format!("<{id}@{}>", self.host)))
            .date(SystemTime::from(at))
            .raw_header(automatic)
            .multipart(MultiPart::alternative_plain_html(letter.text(), letter.html()))
            .map_err(|_| SendError::Message)
    }
}

fn failure(error: &lettre::transport::smtp::Error) -> SendError {
    match error.status() {
        Some(code) => SendError::Refused(code.into()),
        None if error.is_timeout() => SendError::Timeout,
        None if error.is_tls() => SendError::Connection("TLS failed"),
        None if error.is_client() => SendError::Connection("it offers no STARTTLS or no sign-in"),
        None if error.is_response() => SendError::Connection("its answer is no SMTP"),
        None => SendError::Connection("it broke off or was never there"),
    }
}

#[cfg(test)]
mod tests;
