//! The `cargo dev` commands, as processes.

use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use shared::db::SERVING_ROLE;
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::keywire::Start;
use super::{LONG, alive, open_dir, until};

/// The `dev` program with its files under `dir`.
pub(super) fn dev(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dev"));
    command.env_clear().env("PATH", super::machine().postgres.path.unwrap()).env("HOME", dir);
    command.env("LOCAL_DIR", dir.join("local")).env("TMPDIR", dir).current_dir(dir);
    command.env("KEYWIRE_CACHE", super::machine().cache);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs it to its end.
pub(super) async fn output(mut command: Command) -> Output {
    timeout(LONG, command.output()).await.expect("it did not end").unwrap()
}

/// What was written.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
}

/// The directories of runs in `dir`.
fn scratch(dir: &Path) -> Vec<std::path::PathBuf> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().contains("keywire-test-")).collect()
}

#[tokio::test]
async fn tests_see_their_own_servers_and_nobody_elses() {
    let dir = open_dir();
    let theirs = "postgres://somebody@db.example/theirs";
    std::fs::write(dir.path().join(".env"), format!("DATABASE_URL={theirs}\n")).unwrap();
    let mut command = dev(dir.path());
    command.env("DATABASE_URL", theirs).env("REDIS_URL", "redis://cache.example");
    command.env("PGHOST", "db.example").env("SQLX_OFFLINE", "false");

    command.args(["with", "--", "env"]);
    let output = output(command).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let seen = text(&output.stdout);
    assert!(!seen.contains(".example"), "{seen}");
    assert!(seen.contains("SQLX_OFFLINE=true"), "{seen}");
    let scratch = format!("host={}/keywire-test-", dir.path().display());
    let variable = |name: &str| seen.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    assert!(variable("TEST_DATABASE_URL=").contains(&scratch), "{seen}");
    assert!(variable("TEST_REDIS_URL=").contains("/keywire-test-"), "{seen}");
    for name in ["TEST_REDIS_BIN=", "TEST_PG_BINDIR="] {
        assert!(Path::new(variable(name)).exists(), "{seen}");
    }
}

#[tokio::test]
async fn a_directory_that_cannot_hold_sockets_is_left_for_a_short_one() {
    let dir = open_dir();
    let long = dir.path().join(format!("{},", "a".repeat(90)));
    std::fs::create_dir(&long).unwrap();
    let mut command = dev(dir.path());
    command.env("TMPDIR", &long).args(["with", "--", "env"]);
    let output = output(command).await;
    let seen = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(seen.contains("TEST_REDIS_URL=redis+unix:///tmp/keywire-test-"), "{seen}");
    assert_eq!(std::fs::read_dir(&long).unwrap().count(), 0);
}

#[tokio::test]
async fn a_command_reads_what_it_is_given() {
    let dir = open_dir();
    let mut child = dev(dir.path());
    child.args(["with", "--", "cat"]).stdin(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"SELECT 1").await.unwrap();
    let output = timeout(LONG, child.wait_with_output()).await.expect("it did not end").unwrap();
    assert_eq!(text(&output.stdout), "SELECT 1");
}

/// Python's module is the one way to a terminal that needs no unsafe code here.
#[tokio::test]
async fn a_command_has_the_terminal() {
    let dir = open_dir();
    let script = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))";
    let mut python = Command::new("python3");
    python.args(["-c", script, env!("CARGO_BIN_EXE_dev"), "with", "--", "sh", "-c"]);
    python.arg("test -t 0 && echo ask && read answer && echo got=$answer");
    for (name, value) in dev(dir.path()).as_std().get_envs() {
        python.env(name, value.unwrap());
    }
    python.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = python.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = String::new();
    let talk = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.trim() == "ask" {
                stdin.write_all(b"yes\n").await.unwrap();
            }
            said += &line;
            if line.contains("got=") {
                return;
            }
        }
    };
    timeout(LONG, talk).await.expect("it did not answer");
    assert!(said.contains("got=yes"), "{said}");
    drop(stdin);
    timeout(LONG, child.wait()).await.expect("it did not end").unwrap();
}

#[tokio::test]
async fn the_commands_exit_code_is_handed_on_and_nothing_is_left() {
    let dir = open_dir();
    let mut command = dev(dir.path());
    command.args(["with", "--", "sh", "-c", "exit 7"]);
    assert_eq!(output(command).await.status.code(), Some(7));
    assert_eq!(scratch(dir.path()), [] as [&Path; 0]);
}

/// Starts `dev with` and a command that prints its process id and Postgres's, then waits for ever.
async fn waiting(dir: &Path) -> (Child, [i32; 2]) {
    let script = "echo $$; cat $(dirname $(dirname ${TEST_DATABASE_URL#*host=}))/postgres/*/postmaster.pid | head -1; exec sleep 600";
    let mut child = dev(dir).args(["with", "--", "sh", "-c", script]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut pids = [0; 2];
    for pid in &mut pids {
        let line = timeout(LONG, lines.next_line()).await.expect("it did not start").unwrap();
        *pid = line.expect("it ended").parse().unwrap();
    }
    (child, pids)
}

#[tokio::test]
async fn interrupted_it_leaves_no_process_and_no_file() {
    let dir = open_dir();
    let (mut child, pids) = waiting(dir.path()).await;
    signal(&child, Signal::INT);
    let status = timeout(LONG, child.wait()).await.expect("it did not end").unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(!pids.into_iter().any(alive), "{pids:?}");
    assert_eq!(scratch(dir.path()), [] as [&Path; 0]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn killed_it_leaves_no_process_and_the_next_run_removes_its_files() {
    let dir = open_dir();
    let (mut child, pids) = waiting(dir.path()).await;
    child.kill().await.unwrap();
    until("its processes end", || !pids.into_iter().any(alive)).await;
    assert_eq!(scratch(dir.path()).len(), 1);
    let mut next = dev(dir.path());
    next.args(["with", "--", "true"]);
    assert!(output(next).await.status.success());
    assert_eq!(scratch(dir.path()), [] as [&Path; 0]);
}

#[tokio::test]
async fn the_database_alone_serves_what_its_env_file_says() {
    let dir = open_dir();
    let mut db = dev(dir.path()).arg("db").spawn().unwrap();
    let mut lines = BufReader::new(db.stderr.take().unwrap()).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line == "Ctrl-C ends it." {
                return;
            }
        }
        panic!("it ended");
    };
    timeout(LONG, ready).await.expect("it was not ready");
    let env = std::fs::read_to_string(dir.path().join("local/lambda.env")).unwrap();
    let url = env.lines().find_map(|line| line.strip_prefix("DATABASE_URL='")).unwrap();
    let url = url.strip_suffix('\'').unwrap();
    let mut served = PgConnection::connect(url).await.unwrap();
    let role: String =
        sqlx::query_scalar("SELECT current_user::text").fetch_one(&mut served).await.unwrap();
    assert_eq!(role, SERVING_ROLE);
    drop(served);
    let refused = Start::in_dir(dir.path()).tried().await.err().expect("two run on one directory");
    assert!(refused.said.contains("cargo dev db"), "{}", refused.said);
    signal(&db, Signal::TERM);
    assert!(timeout(LONG, db.wait()).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn the_first_admin_is_appointed_whether_keywire_runs_or_not() {
    let dir = open_dir();
    let grant = |name: &'static str| {
        let mut command = dev(dir.path());
        command.args(["grant-admin", name]);
        output(command)
    };
    let keywire = Start::in_dir(dir.path()).ready().await;
    keywire.register().await;
    let unknown = grant("nobody-here").await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("no user nobody-here"));
    let granted = grant("Example").await;
    assert!(granted.status.success(), "{}", text(&granted.stderr));
    let roles = keywire.login().await.body["user"]["roles"].to_string();
    assert!(roles.contains("admin"), "{roles}");
    assert!(keywire.end(Signal::TERM).await.success());
    let again = grant("example").await;
    assert!(text(&again.stderr).contains("already"), "{}", text(&again.stderr));
}

#[tokio::test]
async fn an_account_is_made_for_somebody_where_nobody_may_register() {
    let dir = open_dir();
    let create = async |name: &str| {
        let mut command = dev(dir.path());
        command.env("PUBLIC_URL", "https://app.example.com").args(["create-user", name]);
        output(command).await
    };
    let token = |output: &Output| {
        let said = text(&output.stderr);
        let link = "https://app.example.com/account/new-password#token=";
        let (_, token) = said.split_once(link).unwrap_or_else(|| panic!("{output:?}"));
        token.split_whitespace().next().unwrap().to_owned()
    };
    let early = token(&create("example").await);
    let keywire = Start::in_dir(dir.path()).env("REGISTRATION", "closed").ready().await;
    let late = token(&create("late").await);
    let again = create("Example").await;
    assert!(!again.status.success());
    assert!(text(&again.stderr).contains("the name Example is taken"), "{again:?}");
    let reserved = create("admin").await;
    assert!(text(&reserved.stderr).contains("reserved"), "{reserved:?}");
    assert_eq!(keywire.register().await.status, 403);
    assert_eq!(keywire.login().await.status, 401);
    for token in [early, late] {
        let body = json!({ "token": token, "password": "password123" });
        assert_eq!(keywire.post("/password/reset", &body).await.status, 204);
        assert_eq!(keywire.post("/password/reset", &body).await.status, 400);
    }
    assert_eq!(keywire.login().await.status, 200);
    assert!(keywire.end(Signal::INT).await.success());
}

#[tokio::test]
async fn mail_is_shown_where_there_is_no_mail_server() {
    let dir = open_dir();
    let keywire = Start::in_dir(dir.path()).ready().await;
    let body = json!({ "username": "ann", "password": "password123", "email": "ann@example.org" });
    assert_eq!(keywire.post("/register", &body).await.status, 201);
    let deadline = std::time::Instant::now() + LONG;
    let page = loop {
        let answer = keywire.get("/dev/mail/1").await;
        if answer.status == 200 {
            break answer.body.to_string();
        }
        assert!(std::time::Instant::now() < deadline, "the courier does not work");
        tokio::task::yield_now().await;
    };
    let link = format!("http://localhost:{}/account/verify-email#token=", keywire.port);
    assert!(page.contains(&link), "{page}");
    assert!(keywire.end(Signal::INT).await.success());
}

#[tokio::test]
async fn a_given_database_is_served_with_the_keys_registered_for_it() {
    let dir = open_dir();
    let owner =
        local::postgres::Postgres::start(super::cluster::cluster(dir.path()).await).await.unwrap();
    let url = super::cluster::cluster(dir.path()).await.url("postgres");
    let file = dir.path().join("given.json");
    let keys = |register: bool| {
        let mut command = dev(dir.path());
        command.env("DATABASE_URL", &url).arg("keys").arg(&file);
        command.args(register.then_some("--register"));
        output(command)
    };
    assert!(keys(false).await.status.success());
    let start = || Start::in_dir(dir.path()).env("DATABASE_URL", &url);
    let refused = start().tried().await.err().expect("it started without keys");
    assert!(refused.said.contains("KEYS_FILE"), "{}", refused.said);
    let refused = start().env("KEYS_FILE", &file).tried().await.err().expect("not registered");
    assert!(refused.said.contains("--register"), "{}", refused.said);
    assert!(keys(true).await.status.success());
    assert!(!keys(true).await.status.success(), "registered twice");
    let keywire = start().env("KEYS_FILE", &file).ready().await;
    assert_eq!(keywire.register().await.status, 201);
    assert!(!dir.path().join("local").exists(), "a private database was prepared beside it");
    assert!(keywire.end(Signal::TERM).await.success());
    owner.stop().await;
}
