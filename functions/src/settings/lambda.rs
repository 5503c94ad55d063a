//! What a Lambda function is told beside the settings of the endpoints: where its secrets are.

use std::path::PathBuf;

use secrecy::SecretString;
use shared::settings::{self, Reader};

use crate::settings::Platform;

/// Holds the database's address, on a machine of one's own.
pub const DATABASE_URL: &str = "DATABASE_URL";
/// Names the secret that holds the database's address.
pub const DATABASE_ARN: &str = "DATABASE_SECRET_ARN";
/// Names the secret that holds the pepper.
pub const PEPPER_ARN: &str = "PEPPER_SECRET_ARN";
/// Names the secret that holds the signing keys.
pub const SIGNING_ARN: &str = "SIGNING_SECRET_ARN";
/// Names the secret that holds the key of links.
pub const LINKS_ARN: &str = "LINKS_SECRET_ARN";
/// Holds the mail server's address, on a machine of one's own.
const SMTP_URL: &str = "SMTP_URL";
/// Names the secret that holds the mail server's address.
pub const SMTP_ARN: &str = "SMTP_SECRET_ARN";
/// Names a file of all keys, for `cargo lambda watch`.
pub const KEYS_FILE: &str = "KEYS_FILE";

/// What a function reads from its environment.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Those of the endpoints.
    pub endpoints: crate::settings::Settings,
    /// How Postgres is reached; its address is empty when [`Self::database_arn`] is set.
    pub database: settings::Database,
    /// `DATABASE_SECRET_ARN`.
    pub database_arn: Option<String>,
    /// `KEYS_FILE`.
    pub keys_file: Option<PathBuf>,
    /// `PEPPER_SECRET_ARN`.
    pub pepper_arn: Option<String>,
    /// `SIGNING_SECRET_ARN`.
    pub signing_arn: Option<String>,
    /// `LINKS_SECRET_ARN`.
    pub links_arn: Option<String>,
    /// `SMTP_SECRET_ARN`.
    pub smtp_arn: Option<String>,
    /// How long Secrets Manager is waited for.
    pub secrets: settings::SecretsWaits,
}

impl Settings {
    /// Reads them all; `needed` are the variables of the secrets that this function uses.
    pub fn read(reader: &mut Reader, needed: &[&'static str]) -> Self {
        let url: Option<SecretString> = reader.optional(
            DATABASE_URL,
            "Address of Postgres, such as `postgres://user:password@host/name`.",
        );
        let settings = Self {
            endpoints: crate::settings::Settings::read(reader, Platform::Lambda),
            database: settings::Database::at(url.unwrap_or_default(), reader),
            database_arn: reader.optional(
                DATABASE_ARN,
                "On Lambda: ARN of the secret that holds the address of Postgres, instead of `DATABASE_URL`.",
            ),
            keys_file: reader.optional(
                KEYS_FILE,
                "A file of keys as `cargo dev keys` makes it.",
            ),
            pepper_arn: reader.optional(
                PEPPER_ARN,
                "On Lambda: ARN of the secret that holds the pepper, instead of `KEYS_FILE`.",
            ),
            signing_arn: reader.optional(
                SIGNING_ARN,
                "On Lambda: ARN of the secret that holds the signing keys, instead of `KEYS_FILE`.",
            ),
            links_arn: reader.optional(
                LINKS_ARN,
                "On Lambda: ARN of the secret that holds the key of links, instead of `KEYS_FILE`.",
            ),
            smtp_arn: reader.optional(
                SMTP_ARN,
                "On Lambda: ARN of the secret that holds the mail server's address, instead of `SMTP_URL`.",
            ),
            secrets: settings::SecretsWaits::read(reader),
        };
        one_of(reader, DATABASE_URL, DATABASE_ARN);
        for variable in needed {
            one_of(reader, KEYS_FILE, variable);
        }
        settings
    }

    /// Reads those of the courier, which sends mails besides.
    pub fn courier(reader: &mut Reader, needed: &[&'static str]) -> Self {
        let settings = Self::read(reader, needed);
        one_of(reader, SMTP_URL, SMTP_ARN);
        for (missing, name) in [
            (settings.endpoints.http.public_url.is_none(), "PUBLIC_URL"),
            (settings.endpoints.courier.from.is_none(), "MAIL_FROM"),
        ] {
            if missing && !reader.is_set(name) {
                reader.refuse(format!("{name} is not set: no mail can be sent without it"));
            }
        }
        settings
    }

    /// The variable that says where the database is.
    pub fn database_variable(&self) -> &'static str {
        if self.database_arn.is_some() { DATABASE_ARN } else { DATABASE_URL }
    }
}

/// There is no default for a secret, and no guess between two.
fn one_of(reader: &mut Reader, plain: &str, arn: &str) {
    match (reader.is_set(plain), reader.is_set(arn)) {
        (true, false) | (false, true) => {}
        (false, false) => reader.refuse(format!(
            "{arn} is not set: the ARN of a secret in Secrets Manager (or {plain}, on a machine of one's own)"
        )),
        (true, true) => reader.refuse(format!("{arn} and {plain} are both set: give one of them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(pairs: &[(&str, &str)]) -> Vec<String> {
        let mut reader = Reader::from_pairs(pairs.iter().copied());
        Settings::read(&mut reader, &[PEPPER_ARN, SIGNING_ARN]);
        reader.finish().err().map(|wrong| wrong.0).unwrap_or_default()
    }

    #[test]
    fn a_function_without_its_secrets_says_which_are_missing() {
        let missing = wrong(&[]);
        assert_eq!(missing.len(), 3);
        for (line, name) in missing.iter().zip([DATABASE_ARN, PEPPER_ARN, SIGNING_ARN]) {
            assert!(line.starts_with(&format!("{name} is not set")), "{line}");
        }
    }

    #[test]
    fn a_secret_comes_from_one_place() {
        let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:x-abcdef";
        let arns = [(DATABASE_ARN, arn), (PEPPER_ARN, arn), (SIGNING_ARN, arn)];
        assert!(wrong(&arns).is_empty());
        let local = [("DATABASE_URL", "postgres:///keywire"), (KEYS_FILE, "keys.json")];
        assert!(wrong(&local).is_empty());
        let both = wrong(&[&arns[..], &local].concat());
        assert_eq!(both.len(), 3);
        assert!(both[0].contains("both set"), "{}", both[0]);
    }

    #[test]
    fn one_attempt_at_a_secret_takes_no_longer_than_all() {
        let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:x-abcdef";
        let arns = [(DATABASE_ARN, arn), (PEPPER_ARN, arn), (SIGNING_ARN, arn)];
        let told = wrong(&[&arns[..], &[("SECRETS_TIMEOUT", "2s")]].concat());
        assert_eq!(told, ["SECRETS_ATTEMPT_TIMEOUT: at most SECRETS_TIMEOUT"]);
    }

    #[test]
    fn what_the_template_sets_is_read_and_holds() {
        let template = include_str!("../../../template.yaml");
        let is_variable = |name: &str| name.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'_'));
        let pairs: Vec<(&str, &str)> = template
            .lines()
            .filter_map(|line| line.trim_start().split_once(": "))
            .filter(|(name, _)| is_variable(name))
            .map(|(name, value)| match value.strip_prefix("!Ref ") {
                Some("PublicUrl") => (name, "https://app.example.com"),
                Some("MailFrom") => (name, "Example <no-reply@example.com>"),
                Some(_) => {
                    (name, "arn:aws:secretsmanager:eu-central-1:123456789012:secret:x-abcdef")
                }
                // Without origins, the join of none; without a public address, its default.
                None if value.starts_with("!Join") || value.starts_with("!Sub") => (name, ""),
                None => (name, value.trim_matches('"')),
            })
            .collect();
        assert!(pairs.len() > 8, "{pairs:?}");
        let mut reader = Reader::from_pairs(pairs.iter().copied());
        let log = settings::Log::read(&mut reader);
        let settings = Settings::read(&mut reader, &[PEPPER_ARN, SIGNING_ARN]);
        let known: Vec<_> = reader.variables().iter().map(|variable| variable.name).collect();
        for (name, _) in pairs {
            assert!(known.contains(&name), "{name} is set, but nobody reads it");
        }
        reader.finish().unwrap();
        assert_eq!(settings.database.pool, 1);
        assert_eq!(settings.endpoints.rules.policy, shared::password::Policy::Strict);
        assert_eq!(log.format, settings::LogFormat::Json);
        // The wait for the database, twice, still ends before the function does.
        let timeout = template.lines().find_map(|line| line.trim().strip_prefix("Timeout: "));
        let timeout = std::time::Duration::from_secs(timeout.unwrap().parse().unwrap());
        assert!(2 * settings.database.timeout < timeout);
    }
}
