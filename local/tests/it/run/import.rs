//! `cargo dev import-users`: whole files, wrong lines, and signing in afterwards.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Output;

use http::StatusCode;
use serde_json::json;

use super::dev::{dev, output, text};
use super::open_dir;
use crate::app::TestApp;

/// bcrypt of `U*U` at cost 5: a vector of `crypt_blowfish`.
const HASH: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

/// An app whose cost is that of the hash.
async fn app() -> TestApp {
    TestApp::with(&[("BCRYPT_COST", "5")]).await
}

/// Imports the text, in which `HASH` stands for the hash.
async fn import(app: &TestApp, text: &str, flags: &[&str]) -> Output {
    let dir = open_dir();
    let file = dir.path().join("users");
    std::fs::write(&file, text.replace("HASH", HASH)).unwrap();
    import_file(app, dir.path(), &file, flags).await
}

async fn import_file(app: &TestApp, dir: &Path, file: &Path, flags: &[&str]) -> Output {
    let mut command = dev(dir);
    command.env("DATABASE_URL", app.database_url()).env("BCRYPT_COST", "5");
    // Only `cargo run` and `rotate-keys` need it.
    command.env("KEYS_FILE", dir.join("none")).arg("import-users").arg(file).args(flags);
    output(command).await
}

async fn count(app: &TestApp) -> i64 {
    let count = "SELECT count(*) FROM users";
    sqlx::query_scalar(count).fetch_one(&app.owner).await.unwrap()
}

#[tokio::test]
async fn imported_accounts_sign_in_and_their_hashes_are_upgraded() {
    let app = app().await;
    let lines = "username,password_hash,email,email_verified,created_at\r\n\
                 Sir Old Name,HASH,old@Example.com,true,2019-05-01T12:00:00Z\r\n\
                 \u{430}dmin,HASH,not-yet@example.com,false,\r\n";
    let done = import(&app, lines, &[]).await;
    let said = text(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert!(said.contains("Imported 2 accounts"), "{said}");
    assert!(said.contains("Left out 1 addresses that are not verified"), "{said}");
    for name in ["Sir Old Name", "OLD@example.com", "\u{430}dmin"] {
        app.login(name, "U*V").await.assert_problem(401, "invalid_credentials");
        let answer = app.login(name, "U*U").await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {answer:?}");
        assert_eq!(answer.body["user"]["roles"], json!(["member"]));
    }
    let answer = app.login("sir old name", "U*U").await;
    assert_eq!(answer.body["user"]["username"], "Sir Old Name");
    assert_eq!(answer.body["user"]["created_at"], "2019-05-01T12:00:00Z");
    app.login("not-yet@example.com", "U*U").await.assert_problem(401, "invalid_credentials");
    let schemes: Vec<String> =
        sqlx::query_scalar("SELECT scheme FROM passwords").fetch_all(&app.owner).await.unwrap();
    assert_eq!(schemes, ["peppered", "peppered"]);
    assert_eq!(app.audit().await.iter().filter(|event| *event == "user_created").count(), 2);
}

#[tokio::test]
async fn one_wrong_line_keeps_every_line_out_and_each_is_told() {
    let app = app().await;
    app.user("Taken").await;
    let reserve = "INSERT INTO reserved_names VALUES ('gone', now() + interval '1 day')";
    sqlx::query(reserve).execute(&app.owner).await.unwrap();
    let lines = r#"{"username":"fine","password_hash":"HASH"}
{"username":"malformed","password_hash":"password123"}

{"username":"costly","password_hash":"$2b$16$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"}
{"username":"slow","password_hash":"$2b$06$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"}
{"username":"TAKEN","password_hash":"HASH"}
{"username":"FINE","password_hash":"HASH"}
{"username":"one","password_hash":"HASH","email":"a@b.example","email_verified":true}
{"username":"two","password_hash":"HASH","email":"A@b.example","email_verified":true}
{"username":"x","password_hash":"HASH","role":"admin"}
{"username":"Gone","password_hash":"HASH"}"#;
    let refused = import(&app, lines, &[]).await;
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for line in [
        "line 2: the hash is not bcrypt",
        "line 4: the hash has cost 16: above 15 none is taken",
        "line 5: the hash has cost 6, above BCRYPT_COST=5: a wrong password would take 2 times",
        "line 6: username \"TAKEN\" is taken by an account that is there",
        "line 7: username \"FINE\" is taken by line 1",
        "line 9: email \"A@b.example\" is taken by line 8",
        "line 10: not an object of",
        "line 11: username \"Gone\" is taken by an account that was deleted lately",
        "8 lines cannot be imported; nothing was",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert!(!said.contains("CCCCCC"), "a hash is shown: {said}");
    assert_eq!(count(&app).await, 1);
}

#[tokio::test]
async fn a_slow_hash_is_taken_when_asked_for_and_signs_in() {
    let app = app().await;
    let lines = "username,password_hash\nann,HASH";
    let dir = open_dir();
    let file = dir.path().join("users.csv");
    std::fs::write(&file, lines.replace("HASH", HASH)).unwrap();
    let mut command = dev(dir.path());
    command.env("DATABASE_URL", app.database_url()).env("BCRYPT_COST", "4");
    command.arg("import-users").arg(&file).arg("--allow-slow");
    let taken = output(command).await;
    let said = text(&taken.stderr);
    assert!(taken.status.success(), "{said}");
    assert!(said.contains("1 hashes cost more than BCRYPT_COST=4"), "{said}");
    assert_eq!(app.login("ann", "U*U").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_import_that_is_repeated_changes_nothing() {
    let app = app().await;
    let lines = "username,password_hash\nann,HASH\nbob,HASH";
    assert!(import(&app, lines, &[]).await.status.success());
    assert_eq!(app.login("ann", "U*U").await.status, StatusCode::OK);
    let again = import(&app, lines, &[]).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("2 lines cannot be imported; nothing was"));
    let more = import(&app, &format!("{lines}\neve,HASH"), &["--skip-taken"]).await;
    let said = text(&more.stderr);
    assert!(said.contains("Imported 1 accounts") && said.contains("Left out 2"), "{said}");
    let schemes = "SELECT scheme FROM passwords JOIN users ON id = user_id ORDER BY username";
    let schemes: Vec<String> = sqlx::query_scalar(schemes).fetch_all(&app.owner).await.unwrap();
    assert_eq!(schemes, ["peppered", "bcrypt", "bcrypt"], "what a sign-in has upgraded stays");
}

#[tokio::test]
async fn a_dry_run_tells_everything_and_keeps_nothing() {
    let app = app().await;
    let good = import(&app, "username,password_hash\nann,HASH", &["--dry-run"]).await;
    assert!(text(&good.stderr).contains("Would import 1 accounts"), "{}", text(&good.stderr));
    let bad = import(&app, "username,password_hash\nann,HASH\nAnn,HASH", &["--dry-run"]).await;
    assert!(text(&bad.stderr).contains("line 3: username \"Ann\" is taken by line 2"));
    assert_eq!((bad.status.code(), count(&app).await), (Some(1), 0));
}

#[tokio::test]
async fn a_file_without_accounts_or_of_another_form_is_refused() {
    let app = app().await;
    for (lines, why) in [
        ("\n\n", "there is no account in"),
        ("name,hash\nann,HASH", "line 1: no column is called \"name\""),
        ("username,email\nann,x", "line 1: the header has no column password_hash"),
    ] {
        let refused = import(&app, lines, &[]).await;
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains(why), "{}", text(&refused.stderr));
    }
    assert_eq!(count(&app).await, 0);
}

/// Most memory, in KiB, that importing so many accounts took.
async fn peak(app: &TestApp, accounts: usize) -> i64 {
    let dir = open_dir();
    let file = dir.path().join("users.csv");
    let mut lines = String::from("username,password_hash,email,email_verified\n");
    let padding = "x".repeat(200);
    for number in 0..accounts {
        writeln!(
            lines,
            "{padding} {number} of {accounts},{HASH},{padding}{number}@{accounts}.example,t"
        )
        .unwrap();
    }
    std::fs::write(&file, &lines).unwrap();
    let script = "import resource, subprocess, sys\n\
                  status = subprocess.run(sys.argv[1:]).returncode\n\
                  print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n\
                  sys.exit(status)";
    let mut python = tokio::process::Command::new("python3");
    python.args(["-c", script, env!("CARGO_BIN_EXE_dev"), "import-users"]).arg(&file);
    for (name, value) in dev(dir.path()).as_std().get_envs() {
        python.env(name, value.unwrap());
    }
    python.env("DATABASE_URL", app.database_url()).env("BCRYPT_COST", "5");
    let done = output(python).await;
    assert!(done.status.success(), "{}", text(&done.stderr));
    text(&done.stdout).trim().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_large_file_takes_no_more_memory_than_a_thousand_lines() {
    let app = app().await;
    let (small, large) = (peak(&app, 1_000).await, peak(&app, 10_000).await);
    assert_eq!(count(&app).await, 11_000);
    assert!(large - small < 4_000, "{small} KiB for 1,000 lines, {large} KiB for 5 MB");
}
