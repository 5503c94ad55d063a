//! An account as a line of the file has it.

use serde::Deserialize;
use shared::credentials::{Identifier, Username};
use shared::db::imports::Import;
use shared::password::Stored;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What a line may say; the header of a CSV file names some or all of these.
const COLUMNS: [&str; 5] = ["username", "password_hash", "email", "email_verified", "created_at"];

/// How the file is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON object a line.
    Json,
    /// Comma-separated, with these columns.
    Csv(Vec<String>),
}

/// A line's values, not yet checked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    username: String,
    password_hash: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    email_verified: Option<bool>,
    #[serde(default)]
    created_at: Option<String>,
}

/// A line that can be imported.
#[derive(Debug)]
pub(super) struct Entry {
    /// The account.
    pub(super) import: Import,
    /// The cost of its hash.
    pub(super) cost: u32,
    /// Whether it has an address that nobody has verified, which is left out.
    pub(super) unverified: bool,
}

impl Format {
    /// The format that the first line shows, and whether that line is the header.
    ///
    /// # Errors
    /// In words, if it is neither.
    pub(super) fn of(first: &str) -> Result<(Self, bool), String> {
        if first.trim_start().starts_with('{') {
            return Ok((Self::Json, false));
        }
        let columns = fields(first)?;
        let columns: Vec<String> = columns.iter().map(|name| name.trim().to_lowercase()).collect();
        if let Some(other) = columns.iter().find(|name| !COLUMNS.contains(&name.as_str())) {
            return Err(format!("no column is called {other:?}; there are {}", COLUMNS.join(", ")));
        }
        let missing =
            COLUMNS[..2].iter().find(|name| !columns.iter().any(|column| column == *name));
        if let Some(missing) = missing {
            return Err(format!("the header has no column {missing}"));
        }
        let twice = |name: &&String| columns.iter().filter(|other| other == name).count() > 1;
        match columns.iter().find(twice) {
            Some(name) => Err(format!("the header has the column {name} twice")),
            None => Ok((Self::Csv(columns), true)),
        }
    }

    /// The account of a line.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub(super) fn parse(
        &self,
        line: i64,
        text: &str,
        now: OffsetDateTime,
    ) -> Result<Entry, String> {
        let row = match self {
            // The parser's own message may quote the hash.
            Self::Json => serde_json::from_str(text).map_err(|error| {
                let column = error.column();
                let members = COLUMNS.join(", ");
                format!("not an object of {members} (see column {column} of the line)")
            })?,
            Self::Csv(columns) => from_csv(columns, text)?,
        };
        entry(line, row, now)
    }
}

/// The fields of a line of CSV. A field holds no line break, so that a quote never closed ends with
/// its line.
fn fields(line: &str) -> Result<csv::StringRecord, String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
    let mut record = csv::StringRecord::new();
    reader.read_record(&mut record).map_err(|error| error.to_string())?;
    Ok(record)
}

fn from_csv(columns: &[String], line: &str) -> Result<Row, String> {
    let record = fields(line)?;
    if record.len() != columns.len() {
        return Err(format!("{} fields, but the header has {}", record.len(), columns.len()));
    }
    let mut row = Row::default();
    for (column, value) in columns.iter().zip(record.iter()) {
        let given = (!value.is_empty()).then(|| value.to_owned());
        match column.as_str() {
            "username" => value.clone_into(&mut row.username),
            "password_hash" => value.clone_into(&mut row.password_hash),
            "email" => row.email = given,
            "email_verified" => row.email_verified = given.map(|text| switch(&text)).transpose()?,
            _ => row.created_at = given,
        }
    }
    Ok(row)
}

/// A truth as databases export it.
fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" => Ok(true),
        "false" | "f" | "0" | "no" => Ok(false),
        _ => Err("email_verified is neither true nor false".to_owned()),
    }
}

fn entry(line: i64, row: Row, now: OffsetDateTime) -> Result<Entry, String> {
    let Row { username, password_hash, email, email_verified, created_at } = row;
    let (password, cost) = Stored::imported(&password_hash).map_err(|why| why.to_string())?;
    let username = Username::imported(username);
    let username = username.map_err(|invalid| format!("username: {}", invalid.message))?;
    let email = email.filter(|email| !email.is_empty());
    let unverified = email.is_some() && email_verified != Some(true);
    let email = email.filter(|_| !unverified).map(address).transpose()?;
    if username.as_str().contains('@')
        && email.as_deref().map(str::to_lowercase) != Some(username.key())
    {
        return Err("username: what holds `@` is looked up as an address at sign-in; give it as \
                    the verified email too, or another username"
            .to_owned());
    }
    let created_at = match created_at {
        None => now,
        Some(text) => OffsetDateTime::parse(&text, &Rfc3339)
            .ok()
            .filter(|at| *at <= now && at.year() >= 1970)
            .ok_or("created_at is not a past time like 2024-05-01T12:00:00Z (RFC 3339)")?,
    };
    let import = Import { line, username, email, password, created_at };
    Ok(Entry { import, cost, unverified })
}

/// An address that sign-in can find.
fn address(text: String) -> Result<String, String> {
    let shape = text
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    let odd = text.chars().any(|c| c.is_whitespace() || c.is_control());
    if shape && !odd && Identifier::parse(text.clone()).is_ok() {
        return Ok(text);
    }
    Err("email: not an address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    const NOW: OffsetDateTime = time::macros::datetime!(2026-01-01 0:00 UTC);

    fn parse(format: &Format, text: &str) -> Result<Entry, String> {
        format.parse(1, &text.replace("HASH", HASH), NOW)
    }

    #[test]
    fn a_line_of_csv_and_one_of_json_say_the_same() {
        let (csv, header) = Format::of("Email,username,password_hash,email_verified").unwrap();
        assert!(header);
        let (json, header) = Format::of(r#"{"username":"#).unwrap();
        assert_eq!((&json, header), (&Format::Json, false));
        let lines = [
            parse(&csv, r#"ann@example.com,"Ann ""the"" 1st, again",HASH,t"#),
            parse(
                &json,
                r#"{"username":"Ann \"the\" 1st, again","password_hash":"HASH","email":"ann@example.com","email_verified":true}"#,
            ),
        ];
        for Entry { import, cost, unverified } in lines.map(Result::unwrap) {
            assert_eq!(import.username.as_str(), "Ann \"the\" 1st, again");
            assert_eq!(import.email.as_deref(), Some("ann@example.com"));
            assert_eq!((import.created_at, cost, unverified), (NOW, 5, false));
        }
    }

    #[test]
    fn an_address_that_nobody_verified_is_left_out() {
        for verified in ["", r#","email_verified":false"#] {
            let text = format!(
                r#"{{"username":"a","password_hash":"HASH","email":"a@b.example"{verified}}}"#
            );
            let Entry { import, unverified, .. } = parse(&Format::Json, &text).unwrap();
            assert_eq!((import.email, unverified), (None, true));
        }
    }

    #[test]
    fn what_cannot_be_imported_is_told_without_the_hash() {
        let (csv, _) =
            Format::of("username,password_hash,email,email_verified,created_at").unwrap();
        for (line, why) in [
            ("ann,HASH", "2 fields"),
            ("ann,nothing,,,", "not bcrypt"),
            (",HASH,,,", "Enter the username"),
            ("ann@example.com,HASH,,,", "holds `@`"),
            ("ann@example.com,HASH,other@example.com,t,", "holds `@`"),
            ("ann,HASH,not an address,t,", "email: not an address"),
            ("ann,HASH,a@b.example,perhaps,", "email_verified"),
            ("ann,HASH,,,yesterday", "created_at"),
            ("ann,HASH,,,2027-01-01T00:00:00Z", "created_at"),
            ("\"ann,HASH,,,", "1 fields"),
        ] {
            let told = parse(&csv, line).unwrap_err();
            assert!(told.contains(why) && !told.contains(HASH), "{line}: {told}");
        }
        for line in [
            "{}",
            "[]",
            r#"{"username":"a","password_hash":["HASH"]}"#,
            r#"{"username":"a","password_hash":"HASH","role":"admin"}"#,
        ] {
            let told = parse(&Format::Json, line).unwrap_err();
            assert!(told.contains("not an object of") && !told.contains(HASH), "{line}: {told}");
        }
        for header in
            ["username,email", "username,password_hash,role", "username,password_hash,username"]
        {
            assert!(Format::of(header).is_err(), "{header}");
        }
    }

    #[test]
    fn a_name_that_is_the_accounts_address_is_kept() {
        let text = r#"{"username":"Ann@Example.com","password_hash":"HASH","email":"ann@example.com","email_verified":true}"#;
        assert_eq!(parse(&Format::Json, text).unwrap().import.username.as_str(), "Ann@Example.com");
    }
}
