//! Ending: asked to, killed, or with its Postgres killed.

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;

use super::keywire::{Start, end};
use super::{LONG, alive, open_dir, postmaster, until};

#[tokio::test]
async fn each_signal_ends_it_with_code_0_and_ends_its_postgres() {
    let dir = open_dir();
    let local = dir.path().join("local");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let keywire = Start::in_dir(dir.path()).ready().await;
        let postgres = postmaster(&local).unwrap();
        let status = keywire.end(signal).await;
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(!alive(postgres), "Postgres runs on after {signal:?}");
        assert_eq!(postmaster(&local), None, "Postgres did not end clean");
    }
}

#[tokio::test]
async fn interrupted_while_it_prepares_it_ends_clean_and_can_be_started_again() {
    let dir = open_dir();
    let child = Start::in_dir(dir.path()).spawn();
    let postgres = dir.path().join("local/postgres");
    // initdb writes its first file early and works on for most of a second.
    until("initdb works", || {
        let entries = std::fs::read_dir(&postgres).into_iter().flatten();
        entries.filter_map(Result::ok).any(|entry| entry.path().join("PG_VERSION").exists())
    })
    .await;
    assert_eq!(end(child, Signal::INT).await.code(), Some(0));
    let keywire = Start::in_dir(dir.path()).ready().await;
    assert_eq!(keywire.register().await.status, 201);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn killed_it_leaves_no_postgres_and_starts_again_with_every_account() {
    let dir = open_dir();
    let first = Start::in_dir(dir.path()).ready().await;
    assert_eq!(first.register().await.status, 201);
    let postgres = postmaster(&dir.path().join("local")).unwrap();
    assert!(!first.end(Signal::KILL).await.success());
    // At once, while the old Postgres is still shutting down.
    let second = Start::in_dir(dir.path()).ready().await;
    assert!(!alive(postgres), "two run on one directory");
    assert_eq!(second.login().await.status, 200);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn killed_it_takes_its_postgres_with_it() {
    let dir = open_dir();
    let keywire = Start::in_dir(dir.path()).ready().await;
    let postgres = postmaster(&dir.path().join("local")).unwrap();
    keywire.end(Signal::KILL).await;
    until("Postgres ends", || !alive(postgres)).await;
}

#[tokio::test]
async fn a_killed_postgres_answers_503_until_it_is_back_by_itself() {
    let dir = open_dir();
    // A sign-in every few milliseconds is no attack here.
    let start = Start::in_dir(dir.path()).env("LIMIT_LOGIN_ADDRESS", "off");
    let keywire = start.ready().await;
    assert_eq!(keywire.register().await.status, 201);
    let killed = postmaster(&dir.path().join("local")).unwrap();
    kill_process(Pid::from_raw(killed).unwrap(), Signal::KILL).unwrap();
    let healed = async {
        loop {
            let answer = keywire.login().await;
            let now = postmaster(&dir.path().join("local"));
            if answer.status == 200 && now.is_some_and(|pid| pid != killed) {
                return;
            }
            assert!([200, 503].contains(&answer.status), "{answer:?}");
        }
    };
    timeout(LONG, healed).await.expect("it did not heal");
}
