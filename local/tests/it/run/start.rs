//! Starting: the first time, again, twice, on a taken port, as an ordinary user, with given servers.

use std::path::Path;

use futures_util::{SinkExt as _, StreamExt as _};
use local::child::Account;
use rustix::process::Signal;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use super::keywire::Start;
use super::{LONG, open_dir};

#[tokio::test]
async fn the_banners_curl_and_websocat_lines_work_as_printed() {
    let dir = open_dir();
    let keywire = Start::in_dir(dir.path()).ready().await;
    let line = |word: &str| {
        let mut lines = keywire.banner.lines().map(str::trim);
        lines.find(|line| line.starts_with(word)).unwrap().to_owned()
    };
    let curl = line("curl ");
    let body: Value = serde_json::from_str(curl.split('\'').nth(3).unwrap()).unwrap();
    let path = curl.rsplit_once(&keywire.port.to_string()).unwrap().1;
    assert_eq!(keywire.post(path, &body).await.status, 201);
    let url = line("websocat ").replace("websocat ", "");
    let stream = TcpStream::connect(("127.0.0.1", keywire.port)).await.unwrap();
    let (mut socket, _) = client_async(url, stream).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    let heard = timeout(LONG, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(heard, Message::text("hello"));
}

#[tokio::test]
async fn the_api_answers_at_the_root_and_under_api_and_a_page_at_the_root() {
    let dir = open_dir();
    let keywire = Start::in_dir(dir.path()).ready().await;
    for path in ["/health", "/api/health", "/.well-known/jwks.json", "/api/.well-known/jwks.json"] {
        assert_eq!(keywire.get(path).await.status, 200, "{path}");
    }
    let page = keywire.get("/").await;
    assert!(page.status == 200 && page.body.as_str().unwrap().contains("Keywire is running"));
    let missing = keywire.get("/nothing-here").await;
    assert_eq!((missing.status, &missing.body["code"]), (404, &"not_found".into()));
}

#[tokio::test]
async fn accounts_and_keys_are_there_after_a_restart() {
    let dir = open_dir();
    let first = Start::in_dir(dir.path()).ready().await;
    assert_eq!(first.register().await.status, 201);
    let keys = first.get("/.well-known/jwks.json").await.body;
    assert!(first.end(Signal::TERM).await.success());
    let second = Start::in_dir(dir.path()).ready().await;
    assert_eq!(second.register().await.status, 409);
    assert_eq!(second.login().await.status, 200);
    assert_eq!(second.get("/.well-known/jwks.json").await.body, keys);
}

#[tokio::test]
async fn a_second_copy_is_refused_and_told_where_the_first_one_is() {
    let dir = open_dir();
    let first = Start::in_dir(dir.path()).ready().await;
    let second = Start::in_dir(dir.path()).tried().await.err().expect("a second copy runs");
    assert_eq!(second.status.code(), Some(1));
    let expected = format!("another copy is running on http://127.0.0.1:{}", first.port);
    assert!(second.said.contains(&expected), "{}", second.said);
    assert_eq!(first.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_port_that_was_asked_for_and_is_taken_ends_the_start() {
    let dir = open_dir();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = Start::in_dir(dir.path()).env("PORT", &port).tried().await;
    let refused = refused.err().expect("it took a taken port");
    assert_eq!(refused.status.code(), Some(1));
    let expected = format!("error: port {port} (from PORT) cannot be used: ");
    assert!(refused.said.contains(&expected), "{}", refused.said);
    assert_eq!(super::postmaster(&dir.path().join("local")), None, "Postgres was left");
}

#[tokio::test]
async fn the_usual_port_taken_moves_to_the_next_one_and_says_so() {
    let dir = open_dir();
    // Held by this test, or by whoever made that fail: taken in any case.
    let _taken = TcpListener::bind("127.0.0.1:8080").await;
    let keywire = Start::in_dir(dir.path()).without("PORT").ready().await;
    assert!((8081..=8089).contains(&keywire.port), "{}", keywire.port);
    assert!(keywire.banner.contains("Port 8080 is taken"), "{}", keywire.banner);
    assert_eq!(keywire.get("/health").await.status, 200);
}

#[tokio::test]
async fn it_runs_as_an_ordinary_user() {
    let dir = open_dir();
    let mut start = Start::in_dir(dir.path());
    if rustix::process::geteuid().is_root() {
        let nobody = Account::named("nobody").expect("every system has this account");
        std::os::unix::fs::chown(dir.path(), Some(nobody.uid), Some(nobody.gid)).unwrap();
        start = start.run_by(&nobody, dir.path());
    }
    let keywire = start.ready().await;
    assert_eq!(keywire.register().await.status, 201);
    let local = dir.path().join("local");
    let owner =
        |path: &Path| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap());
    assert_eq!(owner(&local.join("postgres")), owner(dir.path()));
    assert!(keywire.end(Signal::INT).await.success());
}

#[tokio::test]
async fn it_starts_under_a_mask_that_keeps_files_to_their_user() {
    let dir = open_dir();
    let keywire = Start::in_dir(dir.path()).under_closed_umask().ready().await;
    assert_eq!(keywire.register().await.status, 201);
}

/// Removes the directory even if the test fails.
struct Removed(std::path::PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[tokio::test]
async fn a_checkout_that_was_removed_and_cloned_again_starts() {
    // Closed to others, as root's home is: the account of a Postgres started by root cannot enter.
    let parent = tempfile::Builder::new().prefix("kw-").tempdir().unwrap();
    let checkout = parent.path().join("checkout");
    std::fs::create_dir(&checkout).unwrap();
    let first = Start::in_dir(&checkout).ready().await;
    assert_eq!(first.register().await.status, 201);
    let data = first.banner.split("data in ").nth(1).unwrap().lines().next().unwrap();
    let home = Path::new(data).parent().unwrap().parent().unwrap().to_owned();
    assert!(home.join("keys.json").exists(), "{home:?}");
    let moved = (!home.starts_with(&checkout)).then(|| Removed(home));
    assert!(first.end(Signal::TERM).await.success());
    std::fs::remove_dir_all(&checkout).unwrap();
    std::fs::create_dir(&checkout).unwrap();
    let second = Start::in_dir(&checkout).ready().await;
    assert_eq!(second.login().await.status, if moved.is_some() { 200 } else { 401 });
    assert!(second.end(Signal::TERM).await.success());
}

#[tokio::test]
async fn options_for_another_database_are_refused() {
    let dir = open_dir();
    let start = Start::in_dir(dir.path()).env("PGOPTIONS", "-c search_path=theirs");
    let refused = start.tried().await.err().expect("it started");
    assert!(refused.said.contains("PGOPTIONS is set"), "{}", refused.said);
}

#[tokio::test]
async fn wrong_settings_are_all_told_at_once() {
    let dir = open_dir();
    let start = Start::in_dir(dir.path()).env("PORT", "http").env("POSTGRES", "mysql");
    let refused = start.env("BCRYPT_COST", "99").tried().await.err().expect("it started");
    for name in ["PORT: ", "POSTGRES: ", "BCRYPT_COST: "] {
        assert!(refused.said.contains(name), "{}", refused.said);
    }
    assert!(!dir.path().join("local").exists(), "something was prepared");
}

#[tokio::test]
async fn a_database_without_its_keys_is_refused() {
    let dir = open_dir();
    let first = Start::in_dir(dir.path()).ready().await;
    assert!(first.end(Signal::TERM).await.success());
    std::fs::remove_file(dir.path().join("local/keys.json")).unwrap();
    let refused = Start::in_dir(dir.path()).tried().await.err().expect("it made new keys");
    assert!(refused.said.contains("put the file back"), "{}", refused.said);
}

#[tokio::test]
async fn help_says_what_it_is_and_unknown_arguments_end_it_with_code_2() {
    for (arguments, code) in
        [(&["--help"][..], 0), (&["-h"], 0), (&["--port", "1"], 2), (&["-h", "x"], 2)]
    {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_keywire"));
        let output = command.args(arguments).env_clear().kill_on_drop(true).output();
        let output = timeout(LONG, output).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let (said, silent) =
            if code == 0 { (output.stdout, output.stderr) } else { (output.stderr, output.stdout) };
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("docs/configuration.md") && silent.is_empty(), "{said}");
        assert_eq!(said.starts_with("error: unknown argument"), code == 2, "{said}");
    }
}
