//! The statements of a call under pgbench, as they are described in `.sqlx/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tempfile::TempDir;
use tokio::process::Command;

use super::load::Kind;
use crate::keywire::Keywire;

/// The part of a statement that no other has.
const ME: &str = r#"SELECT id, username, display_name, bio, email, roles AS "roles!", created_at"#;
const ADMIT: &str = "(SELECT salt FROM sessions s JOIN users u";
const REFRESH: &str = "WHEN counter < $3 THEN 'ahead'";

/// The type of a time.
const TIME: &str = "timestamptz";

/// A `pgbench`, and what it needs.
#[derive(Debug)]
pub(super) struct Pgbench {
    program: PathBuf,
    socket: PathBuf,
    sessions: Vec<Session>,
    /// The scripts.
    dir: TempDir,
}

/// A session of pgbench's own.
#[derive(Debug)]
struct Session {
    id: String,
    user: String,
}

impl Pgbench {
    /// Makes a session for each connection, of the accounts that there are.
    ///
    /// # Errors
    /// If a statement is not found or fails.
    pub(super) async fn new(
        program: PathBuf,
        keywire: &Keywire,
        connections: u32,
    ) -> anyhow::Result<Self> {
        let mut owner = PgConnection::connect(&keywire.database_url).await?;
        let made: Vec<(String, String)> = sqlx::query_as(
            "INSERT INTO sessions (id, user_id, salt, rotated_at, created_at, last_seen_at, idle_until,
                                   absolute_until, address, user_agent)
             SELECT gen_random_uuid(), user_id, salt, now(), now(), now(), now() + interval '7 days',
                    now() + interval '30 days', address, 'pgbench'
             FROM sessions ORDER BY id LIMIT $1
             RETURNING id::text, user_id::text",
        )
        .bind(i64::from(connections))
        .fetch_all(&mut owner)
        .await?;
        owner.close().await?;
        ensure!(made.len() == connections as usize, "fewer sessions than DATABASE_POOL");
        let sessions = made.into_iter().map(|(id, user)| Session { id, user }).collect();
        // Nothing is due while it runs: what was last seen is younger than `seen`.
        let check =
            [("sid", "uuid"), ("sub", "uuid"), ("now", TIME), ("ctr", "bigint"), ("seen", TIME)];
        let me = with(&statement(ME)?, &check);
        // No limit is set, as in Keywire's own phase.
        let admit = statement(ADMIT)?.replace("$4", "NULL").replace("$5", "NULL::timestamptz");
        let admit = with(&admit, &[("sid", "uuid"), ("bucket", "bytea"), ("now", TIME)]);
        let judge = [
            ("sid", "uuid"),
            ("now", TIME),
            ("ctr", "bigint"),
            ("grace", TIME),
            ("idle", "float8"),
            ("ip", "text"),
            ("agent", "text"),
            ("request", "text"),
            ("channel", "text"),
        ];
        let refresh = with(&statement(REFRESH)?, &judge);
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join(Kind::Me.name()), format!("{me};\n"))?;
        let both = format!("{admit};\n{refresh};\n\\set ctr :ctr + 1\n");
        fs::write(dir.path().join(Kind::Refresh.name()), both)?;
        Ok(Self { program, socket: keywire.socket_dir(), sessions, dir })
    }

    /// Transactions a second, one process for each session.
    ///
    /// # Errors
    /// If one fails.
    pub(super) async fn run(&self, kind: Kind, seconds: u64) -> anyhow::Result<f64> {
        let mut running = Vec::new();
        for session in &self.sessions {
            running.push(self.start(kind, session, seconds).await?);
        }
        let mut rate = 0.0;
        for child in running {
            let output = child.wait_with_output().await?;
            let said = String::from_utf8_lossy(&output.stdout);
            let failed = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "pgbench: {failed}");
            let tps = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
            rate += tps.context("pgbench did not say its rate")?.parse::<f64>()?;
        }
        Ok(rate)
    }

    async fn start(
        &self,
        kind: Kind,
        session: &Session,
        seconds: u64,
    ) -> anyhow::Result<tokio::process::Child> {
        let script = self.dir.path().join(kind.name());
        let mut command = Command::new(&self.program);
        command.args(["-n", "-M", "prepared", "-c", "1", "-T"]).arg(seconds.to_string());
        command.arg("-f").arg(script).arg("-h").arg(&self.socket).args(["-p", "5432"]);
        let counter = self.counter(session).await?;
        let now = self.ask("SELECT now()::text", None).await?;
        for (name, value) in [
            ("sid", session.id.as_str()),
            ("sub", &session.user),
            ("now", &now),
            ("seen", "2000-01-01"),
            ("grace", &now),
            ("ctr", if kind == Kind::Me { "0" } else { &counter }),
            ("bucket", "\\x00"),
            ("idle", "604800"),
            ("ip", "127.0.0.1"),
            ("agent", "pgbench"),
            ("request", "pgbench"),
            ("channel", "keywire_revoked"),
        ] {
            command.arg("-D").arg(format!("{name}={value}"));
        }
        command.args(["-U", "keywire", "keywire"]);
        // As Keywire's connections: who may do less is checked more, and each statement has a time limit.
        command.env("PGOPTIONS", "-c role=keywire_app -c statement_timeout=2000");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true).spawn().context("pgbench cannot be run; name it with --pgbench")
    }

    async fn counter(&self, session: &Session) -> anyhow::Result<String> {
        self.ask("SELECT counter::text FROM sessions WHERE id = $1::uuid", Some(&session.id)).await
    }

    async fn ask(&self, asked: &'static str, id: Option<&str>) -> anyhow::Result<String> {
        let host = self.socket.display();
        let url = format!("postgres://keywire@localhost:5432/keywire?host={host}&sslmode=disable");
        let mut owner = PgConnection::connect(&url).await?;
        let mut query = sqlx::query_scalar(asked);
        if let Some(id) = id {
            query = query.bind(id);
        }
        let answer = query.fetch_one(&mut owner).await?;
        owner.close().await?;
        Ok(answer)
    }
}

/// The text of the one statement that holds this.
fn statement(part: &str) -> anyhow::Result<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.sqlx");
    let mut found = Vec::new();
    for file in fs::read_dir(&dir).with_context(|| format!("{}", dir.display()))? {
        let described: Value = serde_json::from_slice(&fs::read(file?.path())?)?;
        let text = described["query"].as_str().unwrap_or_default();
        if text.contains(part) {
            found.push(text.to_owned());
        }
    }
    ensure!(found.len() == 1, "{} statements contain {part}", found.len());
    Ok(found.remove(0))
}

/// The statement with pgbench's variables in place of its parameters, the last one first: `$1` begins
/// `$10`, too. pgbench makes a parameter of each use of a variable, so each says its type.
fn with(statement: &str, variables: &[(&str, &str)]) -> String {
    let numbered = variables.iter().enumerate().rev();
    let replaced = numbered.fold(statement.to_owned(), |text, (at, (name, kind))| {
        text.replace(&format!("${}", at + 1), &format!(":{name}::{kind}"))
    });
    // A comment would end the statement's line for pgbench.
    let lines = replaced.lines().filter(|line| !line.trim_start().starts_with("--"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_are_found_and_lose_their_parameters() {
        for part in [ME, ADMIT, REFRESH] {
            statement(part).unwrap();
        }
        let ten = [("a", "text"); 10];
        assert_eq!(with("$1 $2 $10", &ten), ":a::text :a::text :a::text");
        let one = [("a", "uuid")];
        assert_eq!(with("SELECT\n  -- why\n  $1", &one), "SELECT\n  :a::uuid");
    }
}
