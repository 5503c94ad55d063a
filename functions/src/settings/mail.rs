//! Settings of mails: the limits of asking for one, and how the courier sends.

use std::time::Duration;

use shared::mail::{Sender, Smtp};
use shared::settings::{Rate, Reader};

/// Who may ask for mail, and how long its links work.
#[derive(Debug, Clone)]
pub struct Asking {
    /// `LIMIT_MAIL_ADDRESS`.
    pub address: Option<Rate>,
    /// `LIMIT_RECOVERY_ADDRESS`.
    pub network: Option<Rate>,
    /// `RESET_LIFETIME`: how long a link to set a new password works.
    pub reset_lifetime: Duration,
    /// `VERIFY_LIFETIME`: how long a link to confirm an address works.
    pub verify_lifetime: Duration,
}

impl Asking {
    /// Reads the group.
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            address: reader.get(
                "LIMIT_MAIL_ADDRESS",
                "3/h",
                "Mails that may be asked for to one address, whether or not somebody has it; `off` for none.",
            ),
            network: reader.get(
                "LIMIT_RECOVERY_ADDRESS",
                "60/h burst 20",
                "Requests for a new password, and uses of links, from one network (IPv4 /32, IPv6 /64); `off` for none.",
            ),
            reset_lifetime: reader.get_in(
                "RESET_LIFETIME",
                "15min",
                ("1min", "15min"),
                "How long a link to set a new password works; whoever reads the mailbox has that long, too.",
            ),
            verify_lifetime: reader.get_in(
                "VERIFY_LIFETIME",
                "24h",
                ("1min", "24h"),
                "How long a link to confirm an address works.",
            ),
        }
    }
}

/// How the courier works.
#[derive(Debug, Clone)]
pub struct Courier {
    /// `MAIL_FROM`.
    pub from: Option<Sender>,
    /// `SMTP_URL`.
    pub smtp: Option<Smtp>,
    /// `MAIL_TIMEOUT`: for one try.
    pub timeout: Duration,
    /// `MAIL_ATTEMPTS`: tries before a mail is given up.
    pub attempts: u32,
    /// `MAIL_RETRY`: the pause after the first failed try; each doubles the last.
    pub retry: Duration,
    /// `MAIL_RETRY_MAX`: the longest pause.
    pub retry_max: Duration,
    /// `MAIL_BATCH`: mails tried at once.
    pub batch: u32,
    /// `COURIER_INTERVAL`: the pause between two looks into the outbox.
    pub interval: Duration,
    /// `COURIER_RUN`: how long an invocation works.
    pub run: Duration,
    /// `CLEANUP_INTERVAL`: how often what is old is removed.
    pub cleanup_interval: Duration,
    /// `OUTBOX_KEEP`: how long a mail that was sent or given up stays in the outbox.
    pub outbox_keep: Duration,
    /// `AUDIT_KEEP`: how long rows of the audit log are kept.
    pub audit_keep: Duration,
}

impl Courier {
    /// Reads the group.
    pub(super) fn read(reader: &mut Reader) -> Self {
        let courier = Self {
            from: reader.optional(
                "MAIL_FROM",
                "Whom mails are from, such as `Example <no-reply@example.com>`; needed to send any.",
            ),
            smtp: reader.optional(
                "SMTP_URL",
                "The server that takes mails: `smtps://user:password@host`, or `smtp://user:password@host?tls=required` for STARTTLS, or without TLS on this machine only. `cargo run` without it shows them at `/dev/mail`.",
            ),
            timeout: reader.get_in(
                "MAIL_TIMEOUT",
                "20s",
                ("1s", "50s"),
                "Longest try to hand a mail to the server; then it is tried again later.",
            ),
            attempts: reader.get_in(
                "MAIL_ATTEMPTS",
                "10",
                ("1", "100"),
                "Tries before a mail is given up. With the pauses below, ten take half an hour.",
            ),
            retry: reader.get_in(
                "MAIL_RETRY",
                "5s",
                ("1s", "1h"),
                "Pause after a mail's first failed try; each further one is twice as long.",
            ),
            retry_max: reader.get_in(
                "MAIL_RETRY_MAX",
                "10min",
                ("1s", "24h"),
                "Longest such pause.",
            ),
            batch: reader.get_in(
                "MAIL_BATCH",
                "10",
                ("1", "1000"),
                "Mails tried at once, a connection each; one that hangs holds up no other of them, and those behind them for MAIL_TIMEOUT at most.",
            ),
            interval: reader.get_in(
                "COURIER_INTERVAL",
                "2s",
                ("100ms", "1min"),
                "Pause between two looks into an empty outbox; a mail waits that long, and each look is a statement.",
            ),
            run: reader.get_in(
                "COURIER_RUN",
                "55s",
                ("1s", "14min"),
                "On Lambda: how long an invocation of the courier works; a little less than the pause between two.",
            ),
            cleanup_interval: reader.get_in(
                "CLEANUP_INTERVAL",
                "10min",
                ("1s", "24h"),
                "How often what no longer decides anything is removed.",
            ),
            outbox_keep: reader.get_in(
                "OUTBOX_KEEP",
                "7d",
                ("1h", "365d"),
                "How long it is remembered that a mail was sent or given up, and to whom.",
            ),
            audit_keep: reader.get_in(
                "AUDIT_KEEP",
                "400d",
                ("90d", "3650d"),
                "How long rows of the audit log are kept; their addresses and user agents are forgotten after 30 days.",
            ),
        };
        if courier.smtp.is_some() && courier.from.is_none() {
            reader.refuse("MAIL_FROM is not set: mail to SMTP_URL must be from somebody");
        }
        if courier.retry > courier.retry_max {
            reader.refuse("MAIL_RETRY: at most MAIL_RETRY_MAX");
        }
        courier
    }

    /// The pause after so many failed tries, at least 1.
    pub fn pause(&self, attempts: u32) -> Duration {
        let doubled = self.retry.saturating_mul(1 << attempts.saturating_sub(1).min(30));
        doubled.min(self.retry_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_tries_take_half_an_hour() {
        let mut reader = Reader::from_pairs([("", ""); 0]);
        let courier = Courier::read(&mut reader);
        reader.finish().unwrap();
        let pauses: Vec<u64> = (1..=9).map(|n| courier.pause(n).as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(courier.pause(100), courier.retry_max);
        let all: u64 = pauses.iter().sum();
        assert!((1_600..2_000).contains(&all), "{all}");
    }

    #[test]
    fn wrong_settings_of_mail_are_refused_together() {
        let wrong = [
            ("SMTP_URL", "smtp://mail.example.com"),
            ("MAIL_FROM", "nobody"),
            ("MAIL_TIMEOUT", "5min"),
            ("MAIL_ATTEMPTS", "0"),
            ("MAIL_RETRY", "1h"),
            ("AUDIT_KEEP", "30d"),
            ("RESET_LIFETIME", "16min"),
            ("VERIFY_LIFETIME", "25h"),
        ];
        let mut reader = Reader::from_pairs(wrong);
        Courier::read(&mut reader);
        Asking::read(&mut reader);
        let told = reader.finish().unwrap_err().0;
        for (name, _) in wrong {
            assert!(told.iter().any(|sentence| sentence.starts_with(name)), "{name}: {told:?}");
        }
        let mut reader = Reader::from_pairs([("SMTP_URL", "smtp://localhost:1025")]);
        Courier::read(&mut reader);
        assert!(reader.finish().unwrap_err().0[0].starts_with("MAIL_FROM is not set"));
    }
}
