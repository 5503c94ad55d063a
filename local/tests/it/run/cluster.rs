//! A cluster alone, without the HTTP side.

use std::path::Path;
use std::time::Instant;

use local::postgres::{Cluster, Durability, Postgres};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, PgConnection};

use super::{LONG, open_dir, search};

pub(crate) async fn cluster(dir: &Path) -> Cluster {
    let data = dir.join("postgres");
    let installation = search().find(&data, |_| {}).await.unwrap();
    Cluster::new(installation, &data, Durability::Kept).unwrap()
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

#[tokio::test]
async fn a_cluster_holds_its_data_over_a_stop_and_a_start() {
    let dir = open_dir();
    let first = Postgres::start(cluster(dir.path()).await).await.unwrap();
    let url = cluster(dir.path()).await.url("postgres");
    let mut connection = connect(&url).await;
    sqlx::raw_sql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
        .execute(&mut connection)
        .await
        .unwrap();
    first.stop().await;
    assert!(PgConnection::connect(&url).await.is_err(), "still there after the stop");
    let second = Postgres::start(cluster(dir.path()).await).await.unwrap();
    let kept: i32 =
        sqlx::query_scalar("SELECT n FROM kept").fetch_one(&mut connect(&url).await).await.unwrap();
    assert_eq!(kept, 7);
    second.stop().await;
}

#[tokio::test]
async fn a_killed_server_is_restarted_with_every_commit() {
    let dir = open_dir();
    let postgres = Postgres::start(cluster(dir.path()).await).await.unwrap();
    let url = cluster(dir.path()).await.url("postgres");
    let mut connection = connect(&url).await;
    sqlx::raw_sql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
        .execute(&mut connection)
        .await
        .unwrap();
    let first = postgres.pid().unwrap();
    let pid = Pid::from_raw(i32::try_from(first).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let kept = async {
        loop {
            let mut again = connect(&url).await;
            // The old server's last session may still answer the connection attempt.
            if let Ok(n) =
                sqlx::query_scalar::<_, i32>("SELECT n FROM kept").fetch_one(&mut again).await
            {
                return n;
            }
        }
    };
    assert_eq!(tokio::time::timeout(LONG, kept).await.unwrap(), 7);
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
