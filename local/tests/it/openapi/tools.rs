//! A validator of the document, and a fuzzer of what it describes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use crate::docs;
use crate::run::given::Given;
use crate::run::keywire::Keywire;

/// The longest that all fuzzing takes, start-up aside.
const FUZZING: Duration = Duration::from_mins(2);
/// What one round of it may take, in seconds; a round that is done sooner begins anew.
const ROUND: &str = "25";
/// Operations that can end the session they are called with, or disable its account once another one manages
/// accounts, too: they have a round of their own, the last, or the others would soon be refused everywhere.
const ENDING: [&str; 4] = ["log_out", "end_session", "revoke_user", "change_user"];
/// The account that is fuzzed. Its password is not that of the document's examples, or the fuzzer would
/// soon change it, or delete the account.
const ACCOUNT: (&str, &str) = ("fuzzed", "not the one of the examples");

/// Python with the tools, in the checkout.
fn python(tools: &Path) -> Command {
    let mut python = Command::new("python3");
    python.current_dir(docs::root()).stdin(Stdio::null()).kill_on_drop(true);
    python.env("PYTHONPATH", tools).env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

#[expect(clippy::disallowed_methods, reason = "given by `cargo dev test`")]
fn tools() -> PathBuf {
    let path = std::env::var_os("TEST_OPENAPI_TOOLS").map(PathBuf::from);
    path.expect("run these tests by `cargo dev test openapi`")
}

/// Runs to the end; both streams are shown if it failed.
async fn succeed(mut command: Command) -> String {
    let output = command.output().await.unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

#[tokio::test]
async fn the_document_is_valid_and_its_examples_fit_their_schemas() {
    let mut python = python(&tools());
    python.args(["local/tests/it/openapi/check.py", "docs/openapi.json"]);
    let said = succeed(python).await;
    assert!(said.ends_with("examples fit\n"), "{said}");
}

/// Every limit that `cargo run` can be told, and what locks.
pub(super) fn limits() -> Vec<&'static str> {
    let all = local::settings::variables();
    let names = all.iter().map(|variable| variable.name);
    names.filter(|name| name.starts_with("LIMIT_")).chain(["LOCK_AFTER", "LOCK_STOP"]).collect()
}

/// A process without limits, so that nothing is refused before it is looked at.
async fn without_limits(given: &Given) -> Keywire {
    let start = limits().into_iter().fold(given.start(), |start, name| start.env(name, "off"));
    start.ready().await
}

/// A round of fuzzing after a sign-in, of the operations that end sessions or of all others.
async fn fuzz(keywire: &Keywire, ending: bool, home: &Path) {
    let (username, password) = ACCOUNT;
    let body = json!({ "username": username, "password": password });
    let answer = keywire.post("/login", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.body["access_token"].as_str().unwrap();
    let tools = tools();
    let mut python = python(&tools);
    let origin = format!("http://127.0.0.1:{}", keywire.port);
    // What it learns it would keep in the directory it runs in.
    python.current_dir(home).env("HOME", home);
    python.arg(tools.join("bin/schemathesis")).arg("run").arg(format!("{origin}/openapi.json"));
    // One worker: CPython 3.11 cannot parse in two threads at once what hypothesis gives it.
    python.args(["--url", &origin, "--checks", "all", "--max-time", ROUND, "--workers", "1"]);
    // A schema cannot say all that makes a value right: bytes, normal forms, codes of now, cursors.
    python.args(["--exclude-checks", "positive_data_acceptance"]);
    python.args(["--generation-database", "none", "--continue-on-failure"]);
    python.args(["--header", &format!("Authorization: Bearer {token}")]);
    for operation in ENDING {
        python.arg(if ending { "--include-operation-id" } else { "--exclude-operation-id" });
        python.arg(operation);
    }
    succeed(python).await;
}

#[tokio::test]
async fn a_fuzzer_finds_nothing_as_a_user_or_as_an_administrator() {
    let given = Given::new().await;
    let keywire = without_limits(&given).await;
    let (username, password) = ACCOUNT;
    let body = json!({ "username": username, "password": password });
    assert_eq!(keywire.post("/register", &body).await.status, 201);
    let home = given.dir.path();
    let fuzzed = async {
        fuzz(&keywire, false, home).await;
        given.succeed(&["grant-admin", username]).await;
        fuzz(&keywire, false, home).await;
        fuzz(&keywire, true, home).await;
    };
    timeout(FUZZING, fuzzed).await.expect("fuzzing takes longer than two minutes");
}
