//! `cargo dev import-users`: another app's accounts, whose bcrypt hashes go on working.
//!
//! One transaction: either every line is imported or nothing is. So a run that fails, or is killed,
//! has nothing to be cleaned up, and one that is repeated finds its own accounts taken and changes
//! nothing. A thousand lines at a time are in memory, whatever the size of the file.

mod entry;
mod lines;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use shared::clock::Clock;
use shared::db::imports::{self, Clash, Import, Taken};
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;

use self::entry::{Entry, Format};
use self::lines::Lines;
use super::owner::as_owner;
use super::say;
use crate::settings;
use crate::store::Choice;

/// Accounts in memory and in one statement.
const BATCH: usize = 1_000;
/// Most problems told; the rest is counted.
const TOLD: u64 = 100;

/// What the command line says.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// CSV with a header, or one JSON object a line: username, `password_hash`, and, if wanted, email,
    /// `email_verified`, `created_at`.
    file: PathBuf,
    /// Do everything but keep nothing: tells what an import would.
    #[arg(long)]
    dry_run: bool,
    /// Leave accounts out whose name or address is taken, instead of refusing the file.
    #[arg(long)]
    skip_taken: bool,
    /// Take hashes that cost more than `BCRYPT_COST`, up to 15. Until its first sign-in, such an
    /// account is slower to refuse a password than a name that nobody has, and so can be told by it.
    #[arg(long)]
    allow_slow: bool,
}

/// What is found on the way.
#[derive(Debug, Default)]
struct Report {
    imported: usize,
    skipped: usize,
    unverified: u64,
    slow: u64,
    problems: u64,
}

impl Report {
    fn problem(&mut self, line: u64, why: &str) {
        self.problems += 1;
        if self.problems <= TOLD {
            say(&format!("line {line}: {why}"));
        }
    }
}

/// Imports the accounts, all or none.
///
/// # Errors
/// If a line cannot be imported, or file or database cannot be read.
pub(super) async fn import_users(
    choice: &Choice,
    arguments: &Arguments,
) -> anyhow::Result<ExitCode> {
    let cost = settings::of_functions()?.hashing.cost;
    let shown = arguments.file.display();
    let file = File::open(&arguments.file).with_context(|| format!("cannot open {shown}"))?;
    let report = as_owner(choice, async |owner| {
        let mut transaction = owner.begin().await?;
        let mut import = Importing { arguments, cost, report: Report::default() };
        import.all(&mut transaction, BufReader::new(file)).await?;
        let report = import.report;
        if report.problems == 0 && !arguments.dry_run {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok(report)
    });
    tell(&report.await?, arguments, cost)
}

fn tell(report: &Report, arguments: &Arguments, cost: u32) -> anyhow::Result<ExitCode> {
    let Report { imported, skipped, unverified, slow, problems } = report;
    if *problems > TOLD {
        say(&format!("and {} more", problems - TOLD));
    }
    ensure!(*problems == 0, "{problems} lines cannot be imported; nothing was");
    let would = if arguments.dry_run { "Would import" } else { "Imported" };
    say(&format!("{would} {imported} accounts from {}.", arguments.file.display()));
    if *skipped > 0 {
        say(&format!("Left out {skipped} whose name or address is taken."));
    }
    if *unverified > 0 {
        say(&format!(
            "Left out {unverified} addresses that are not verified: their owners add them themselves."
        ));
    }
    if *slow > 0 {
        say(&format!(
            "{slow} hashes cost more than BCRYPT_COST={cost}: until its first sign-in, each of these \
             accounts can be told by how long a wrong password takes."
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// An import under way.
struct Importing<'a> {
    arguments: &'a Arguments,
    /// `BCRYPT_COST`.
    cost: u32,
    report: Report,
}

impl Importing<'_> {
    async fn all(&mut self, owner: &mut PgConnection, file: impl BufRead) -> anyhow::Result<()> {
        let now = Clock::System.now();
        let mut lines = Lines::new(file);
        let mut format = None;
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(line) = lines.next().with_context(|| unreadable(&self.arguments.file))? {
            let text = match line.text {
                Ok(text) => text,
                Err(why) => {
                    self.report.problem(line.number, why);
                    continue;
                }
            };
            if format.is_none() {
                let (found, header) = Format::of(&text)
                    .map_err(|why| anyhow::anyhow!("line {}: {why}", line.number))?;
                format = Some(found);
                if header {
                    continue;
                }
            }
            let Some(format) = &format else { continue };
            batch.extend(self.take(format, line.number, &text, now));
            if batch.len() == BATCH {
                self.insert(owner, &mut batch, now).await?;
            }
        }
        if format.is_none() {
            bail!("there is no account in {}", self.arguments.file.display());
        }
        self.insert(owner, &mut batch, now).await
    }

    /// The account of a line, if it can be imported; else it is told why not.
    fn take(
        &mut self,
        format: &Format,
        number: u64,
        text: &str,
        now: OffsetDateTime,
    ) -> Option<Import> {
        let line = i64::try_from(number).ok()?;
        let Entry { import, cost, unverified } =
            format.parse(line, text, now).map_err(|why| self.report.problem(number, &why)).ok()?;
        if cost > self.cost && !self.arguments.allow_slow {
            let (own, times) = (self.cost, 1_u64 << (cost - self.cost));
            self.report.problem(
                number,
                &format!(
                    "the hash has cost {cost}, above BCRYPT_COST={own}: a wrong password would take \
                     {times} times as long as for a name that nobody has, which tells that the account \
                     exists until its first sign-in; --allow-slow takes it"
                ),
            );
            return None;
        }
        self.report.slow += u64::from(cost > self.cost);
        self.report.unverified += u64::from(unverified);
        Some(import)
    }

    async fn insert(
        &mut self,
        owner: &mut PgConnection,
        batch: &mut Vec<Import>,
        now: OffsetDateTime,
    ) -> anyhow::Result<()> {
        let clashes = imports::insert(owner, batch, now).await?;
        self.report.imported += batch.len() - clashes.len();
        for Clash { line, taken, by_line } in clashes {
            if self.arguments.skip_taken {
                self.report.skipped += 1;
                continue;
            }
            let import = batch.iter().find(|import| import.line == line);
            let (what, value) = match taken {
                Taken::Username | Taken::Reserved => {
                    ("username", import.map(|import| import.username.as_str()))
                }
                Taken::Email => ("email", import.and_then(|import| import.email.as_deref())),
            };
            let by = match (by_line, taken) {
                (Some(by), _) => format!("line {by}"),
                (None, Taken::Reserved) => "an account that was deleted lately".to_owned(),
                (None, _) => "an account that is there".to_owned(),
            };
            // Quoted: a name may hold what a terminal would carry out.
            let value = value.unwrap_or_default();
            self.report.problem(line.unsigned_abs(), &format!("{what} {value:?} is taken by {by}"));
        }
        batch.clear();
        Ok(())
    }
}

fn unreadable(file: &Path) -> String {
    format!("cannot read {}", file.display())
}
