//! The letters: what each says, as text and as HTML.

mod factors;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

pub use factors::FactorChange;

/// The page around an HTML letter; it loads nothing.
const PAGE: &str = include_str!("letter.html");

/// The kinds of mail in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A link to set a new password.
    Reset,
    /// A link to make an address one's own; to an address that somebody owns, a notice instead.
    Verify,
    /// The password was changed.
    PasswordChanged,
    /// To the old address: the account has another one now.
    EmailChanged,
    /// The second factors changed.
    Factors(FactorChange),
}

impl Kind {
    fn all() -> impl Iterator<Item = Self> {
        let others = [Self::Reset, Self::Verify, Self::PasswordChanged, Self::EmailChanged];
        others.into_iter().chain(FactorChange::ALL.map(Self::Factors))
    }

    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Verify => "verify",
            Self::PasswordChanged => "password_changed",
            Self::EmailChanged => "email_changed",
            Self::Factors(change) => change.as_str(),
        }
    }

    /// The kind of this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::all().find(|kind| kind.as_str() == name)
    }
}

/// What a mail says. Debug does not show it: it may hold a token.
pub struct Letter {
    subject: &'static str,
    /// Paragraphs before the link.
    before: Vec<String>,
    /// What a button says, and where it leads.
    link: Option<(&'static str, SecretString)>,
    /// Paragraphs after it.
    after: Vec<String>,
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Letter").field("subject", &self.subject).finish_non_exhaustive()
    }
}

impl Letter {
    /// With a link to set a new password.
    pub fn reset(username: &str, link: SecretString, valid: Duration) -> Self {
        Self {
            subject: "Set a new password",
            before: vec![
                hello(username),
                "Somebody, hopefully you, asked for a new password.".to_owned(),
            ],
            link: Some(("Set a new password", link)),
            after: vec![
                format!("The link works once, for {} from when it was asked for.", words(valid)),
                "If it was not you, nothing has changed and there is nothing to do.".to_owned(),
            ],
        }
    }

    /// With a link to make the address one's own.
    pub fn verify(username: &str, link: SecretString, valid: Duration) -> Self {
        Self {
            subject: "Confirm your address",
            before: vec![
                hello(username),
                "Confirm that this address is yours, to sign in with it and to get a new password \
                 by mail."
                    .to_owned(),
            ],
            link: Some(("Confirm the address", link)),
            after: vec![
                format!("The link works once, for {}.", words(valid)),
                "If you have no such account, ignore this mail: without the link the address \
                 belongs to nobody."
                    .to_owned(),
            ],
        }
    }

    /// To the owner of an address that somebody wants for another account.
    pub fn owned(username: &str) -> Self {
        Self {
            subject: "Your address is in use already",
            before: vec![
                hello(username),
                "Somebody wanted to use this address for another account. It belongs to yours, so \
                 nothing has changed."
                    .to_owned(),
                "If it was you: sign in with this address, and ask for a new password if you have \
                 forgotten yours. If it was not, there is nothing to do."
                    .to_owned(),
            ],
            link: None,
            after: vec![],
        }
    }

    /// After the password was changed.
    pub fn password_changed(username: &str) -> Self {
        Self {
            subject: "Your password was changed",
            before: vec![
                hello(username),
                "The password of your account was just changed. Whoever else was signed in to it is \
                 signed out."
                    .to_owned(),
                "If it was not you, ask for a new password at once, and look after your mailbox: \
                 whoever reads it can do the same."
                    .to_owned(),
            ],
            link: None,
            after: vec![],
        }
    }

    /// To the address that the account had before.
    pub fn email_changed(username: &str) -> Self {
        Self {
            subject: "Your account has another address now",
            before: vec![
                hello(username),
                "The address of your account was changed. This mail goes to the one it had; \
                 nothing more will be sent here."
                    .to_owned(),
                "If it was not you, write to whoever runs the service.".to_owned(),
            ],
            link: None,
            after: vec![],
        }
    }

    /// The subject.
    pub fn subject(&self) -> &'static str {
        self.subject
    }

    /// As plain text.
    pub fn text(&self) -> String {
        let link = self.link.iter().map(|(_, link)| link.expose_secret());
        let before = self.before.iter().map(String::as_str);
        let after = self.after.iter().map(String::as_str);
        let mut text = before.chain(link).chain(after).collect::<Vec<_>>().join("\n\n");
        text.push('\n');
        text
    }

    /// As HTML.
    pub fn html(&self) -> String {
        let paragraph = |text: &String| format!("<p>{}</p>\n", escape(text));
        let button = self.link.iter().map(|(label, link)| {
            let (label, link) = (escape(label), escape(link.expose_secret()));
            format!("<p><a href=\"{link}\">{label}</a></p>\n")
        });
        let before = self.before.iter().map(paragraph);
        let body: String = before.chain(button).chain(self.after.iter().map(paragraph)).collect();
        PAGE.replace("{{subject}}", &escape(self.subject)).replace("{{body}}", &body)
    }
}

/// The greeting. Imported names may hold anything, line breaks included.
fn hello(username: &str) -> String {
    let name: String = username.chars().filter(|c| !c.is_control()).collect();
    format!("Hello {name},")
}

/// A duration as people say it.
fn words(duration: Duration) -> String {
    let minutes = duration.as_secs().div_ceil(60);
    match (minutes / 60, minutes % 60) {
        (0, 1) => "a minute".to_owned(),
        (1, 0) => "an hour".to_owned(),
        (hours, 0) if hours > 0 => format!("{hours} hours"),
        _ => format!("{minutes} minutes"),
    }
}

/// The text within HTML, also within an attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_kinds_are_written_and_never_marked_up() {
        let letter = Letter::password_changed("<b>ann</b> \"x\"\r\nBcc: eve");
        assert!(letter.html().contains("&lt;b&gt;ann&lt;/b&gt; &quot;x&quot;Bcc: eve,"));
        assert!(!letter.html().contains("<b>"));
        assert!(letter.text().starts_with("Hello <b>ann</b> \"x\"Bcc: eve,\n"));
    }

    #[test]
    fn both_forms_hold_the_link_and_how_long_it_works() {
        let link = SecretString::from("https://example.com/account/new-password#token=abc");
        let letter = Letter::reset("ann", link.clone(), Duration::from_mins(15));
        assert!(letter.text().contains(&format!("\n\n{}\n\n", link.expose_secret())));
        assert!(letter.html().contains(&format!("href=\"{}\"", link.expose_secret())));
        for form in [letter.text(), letter.html()] {
            assert!(form.contains("works once, for 15 minutes"), "{form}");
        }
        let shown = format!("{letter:?}");
        assert!(!shown.contains("token"), "{shown}");
    }

    #[test]
    fn durations_are_said_as_people_say_them() {
        for (minutes, expected) in [
            (1, "a minute"),
            (15, "15 minutes"),
            (60, "an hour"),
            (90, "90 minutes"),
            (1_440, "24 hours"),
        ] {
            assert_eq!(words(Duration::from_mins(minutes)), expected);
        }
    }

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in Kind::all() {
            assert_eq!(Kind::find(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::find("newsletter"), None);
    }
}
