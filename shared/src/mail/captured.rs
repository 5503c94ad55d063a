//! Mails that were kept instead of sent, for whoever develops against this process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;

use super::Mail;

/// Most mails kept; the oldest goes first. No setting: `/dev/mail` is for looking at the last few.
const MOST: usize = 100;

/// The last mails of a process. Debug does not show them: they carry tokens.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    mails: VecDeque<CapturedMail>,
    /// How many there ever were: the number of the newest.
    count: u64,
}

/// A mail as it would have been sent.
#[derive(Clone)]
pub struct CapturedMail {
    /// Counts from 1.
    pub number: u64,
    /// The address.
    pub to: String,
    /// When.
    pub at: OffsetDateTime,
    /// The subject.
    pub subject: String,
    /// The plain part.
    pub text: String,
    /// The HTML part.
    pub html: String,
}

impl std::fmt::Debug for Captured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Captured(…)")
    }
}

impl std::fmt::Debug for CapturedMail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CapturedMail(…)")
    }
}

impl Captured {
    /// Keeps a mail.
    pub(super) fn keep(&self, mail: Mail<'_>) {
        let Mail { to, letter, at, .. } = mail;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.count += 1;
        let number = kept.count;
        if kept.mails.len() == MOST {
            kept.mails.pop_front();
        }
        kept.mails.push_back(CapturedMail {
            number,
            to: to.to_owned(),
            at,
            subject: letter.subject().to_owned(),
            text: letter.text(),
            html: letter.html(),
        });
    }

    /// All that are kept, oldest first.
    pub fn all(&self) -> Vec<CapturedMail> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.mails.iter().cloned().collect()
    }

    /// The mail of this number.
    pub fn find(&self, number: u64) -> Option<CapturedMail> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.mails.iter().find(|mail| mail.number == number).cloned()
    }
}
