//! A cluster alone, without the HTTP side.

use std::path::Path;
use std::time::Instant;

use local::postgres::{Cluster, Durability, Postgres};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, PgConnection};

use super::{LONG, machine, open_dir};

/// A cluster under `dir`, not started. Its commits reach the disk: a killed server keeps them.
pub(crate) async fn cluster(dir: &Path) -> Cluster {
    let data = dir.join("postgres");
    let machine = machine();
    let installation = machine.postgres.find(&data, |_| {}).await.unwrap();
    Cluster::new(installation, &data, Durability::Kept, machine.waits).unwrap()
}

/// Connects, again and again until it works.
async fn connect(url: &str) -> PgConnection {
    let deadline = Instant::now() + LONG;
    loop {
        match PgConnection::connect(url).await {
            Ok(connection) => return connection,
            Err(error) if Instant::now() > deadline => panic!("{error}"),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// Starts a cluster and writes a 7 into it. Its owner's URL comes with it.
async fn start_with_seven(dir: &Path) -> (Postgres, String) {
    let postgres = Postgres::start(cluster(dir).await).await.unwrap();
    let url = cluster(dir).await.url("postgres");
    let written = sqlx::raw_sql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)");
    written.execute(&mut connect(&url).await).await.unwrap();
    (postgres, url)
}

/// What is in the table that [`start_with_seven`] made.
async fn kept(connection: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::query_scalar("SELECT n FROM kept").fetch_one(connection).await
}

#[tokio::test]
async fn a_cluster_holds_its_data_over_a_stop_and_a_start() {
    let dir = open_dir();
    let (first, url) = start_with_seven(dir.path()).await;
    first.stop().await;
    assert!(PgConnection::connect(&url).await.is_err(), "still there after the stop");
    let second = Postgres::start(cluster(dir.path()).await).await.unwrap();
    assert_eq!(kept(&mut connect(&url).await).await.unwrap(), 7);
    second.stop().await;
}

#[tokio::test]
async fn a_killed_server_is_restarted_with_every_commit() {
    let dir = open_dir();
    let (postgres, url) = start_with_seven(dir.path()).await;
    let first = postgres.pid().unwrap();
    let pid = Pid::from_raw(i32::try_from(first).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let found = async {
        loop {
            // The old server's last session may still answer the connection attempt.
            if let Ok(n) = kept(&mut connect(&url).await).await {
                return n;
            }
        }
    };
    assert_eq!(tokio::time::timeout(LONG, found).await.unwrap(), 7);
    assert_ne!(postgres.pid(), Some(first));
    postgres.stop().await;
}

#[tokio::test]
async fn an_interrupted_preparation_is_made_again() {
    let dir = open_dir();
    let data = cluster(dir.path()).await.data().with_extension("new");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("half"), "").unwrap();
    let postgres = Postgres::start(cluster(dir.path()).await).await.unwrap();
    assert!(!data.exists() && cluster(dir.path()).await.exists());
    postgres.stop().await;
}

#[tokio::test]
async fn a_cluster_that_cannot_start_says_why() {
    let dir = open_dir();
    Postgres::start(cluster(dir.path()).await).await.unwrap().stop().await;
    let conf = cluster(dir.path()).await.data().join("postgresql.conf");
    std::fs::write(conf, "no_such_setting = on\n").unwrap();
    let error = Postgres::start(cluster(dir.path()).await).await.unwrap_err().to_string();
    assert!(error.contains("no_such_setting"), "{error}");
}
