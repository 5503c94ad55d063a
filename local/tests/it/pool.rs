//! The pool takes back what is well, and mends or gives up what was left open.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use futures_util::FutureExt;
use shared::db::Database;
use shared::settings::{self, Reader};
use socket2::{Domain, SockAddr, Socket, Type};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::time::timeout;

use crate::database::TestDatabase;

/// Longer than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// One connection to a database of its own.
async fn start() -> (TestDatabase, Database) {
    let database = TestDatabase::create().await;
    let mut reader = Reader::from_pairs([("DATABASE_POOL", "1"), ("DATABASE_TIMEOUT", "8s")]);
    let settings = settings::Database::at(database.url.clone(), &mut reader);
    reader.finish().unwrap();
    let db = Database::new(&settings, None).unwrap();
    (database, db)
}

/// The server's process behind the pool's connection.
async fn backend(db: &Database) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(db.pool()).await.unwrap()
}

#[tokio::test]
async fn a_transaction_that_is_dropped_is_rolled_back_at_once() {
    let (database, db) = start().await;
    let before = backend(&db).await;
    let mut lent = db.pool().lend().await.unwrap();
    let mut transaction = lent.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE users").execute(&mut *transaction).await.unwrap();
    drop(transaction);
    drop(lent);
    // Nobody uses the pool meanwhile.
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    let mut transaction = other.begin().await.unwrap();
    let lock = sqlx::raw_sql("LOCK TABLE users").execute(&mut *transaction);
    timeout(SOON, lock).await.expect("the lock is held still").unwrap();
    assert_eq!(backend(&db).await, before, "it is the same connection");
}

#[tokio::test]
async fn a_transaction_whose_beginning_is_cut_off_is_handed_to_nobody() {
    let (database, db) = start().await;
    backend(&db).await;
    // On a busy machine the server may have answered before it is looked whether it has.
    let mut is_cut_off = false;
    for _ in 0..1_000 {
        let mut lent = db.pool().lend().await.unwrap();
        is_cut_off = lent.begin().now_or_never().is_none();
        if is_cut_off {
            break;
        }
    }
    assert!(is_cut_off, "the server has answered each time");
    let insert = "INSERT INTO audit (at, event) VALUES (now(), 'written')";
    sqlx::query(insert).execute(db.pool()).await.unwrap();
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    let seen = sqlx::query_scalar("SELECT count(*) FROM audit WHERE event = 'written'");
    let seen: i64 = seen.fetch_one(&mut other).await.unwrap();
    assert_eq!(seen, 1, "the others do not see it");
}

#[tokio::test]
async fn a_statement_that_nobody_waits_for_ends_before_the_next_one() {
    let (_database, db) = start().await;
    let before = backend(&db).await;
    let sleep = sqlx::query("SELECT pg_sleep(0.1)").execute(db.pool());
    assert!(timeout(Duration::from_millis(10), sleep).await.is_err());
    assert_eq!(backend(&db).await, before);
}

#[tokio::test]
async fn a_connection_that_does_not_answer_makes_way_for_another() {
    let (_database, db) = start().await;
    let before = backend(&db).await;
    let sleep = sqlx::query("SELECT pg_sleep(60)").execute(db.pool());
    assert!(timeout(Duration::from_millis(10), sleep).await.is_err());
    assert_ne!(backend(&db).await, before);
}

#[tokio::test]
async fn a_refused_statement_leaves_its_connection_usable() {
    let (_database, db) = start().await;
    let before = backend(&db).await;
    assert!(sqlx::query("SELECT 1/0").execute(db.pool()).await.is_err());
    assert_eq!(backend(&db).await, before);
}

#[tokio::test]
async fn whoever_finds_a_unix_socket_at_which_too_many_wait_waits_for_it_too() {
    let database = TestDatabase::create().await;
    let server: PgConnectOptions = database.url.parse().unwrap();
    let name = format!(".s.PGSQL.{}", server.get_port());
    let real = server.get_socket().expect("the tests' server has a unix socket").join(&name);
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join(&name);
    let busy = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    busy.bind(&SockAddr::unix(&socket).unwrap()).unwrap();
    busy.listen(0).unwrap();
    let _first = UnixStream::connect(&socket).unwrap();
    let url = server.socket(dir.path()).to_url_lossy().to_string();
    let mut reader = Reader::from_pairs([("DATABASE_TIMEOUT", "20s")]);
    let db = Database::new(&settings::Database::at(url, &mut reader), None).unwrap();
    let connected = db.connect();
    tokio::pin!(connected);
    let early = timeout(Duration::from_millis(10), &mut connected).await;
    assert!(early.is_err(), "{early:?}");
    std::fs::remove_file(&socket).unwrap();
    symlink(real, &socket).unwrap();
    drop(busy);
    timeout(SOON, connected).await.unwrap().unwrap();
}
