//! More functions at once than Postgres lets connect.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use local::postgres::Postgres;
use shared::db::{Database, SERVING_ROLE, signing_keys};
use shared::problem::Problem;
use shared::settings::{self, Reader};
use sqlx::Executor;

use super::migrated;
use crate::run::open_dir;

/// Functions that start at once, each with a pool of its own.
const FUNCTIONS: usize = 1_000;
/// Connections that Postgres allows.
const ALLOWED: usize = 12;

/// What a function does first that has just started: it reads the keys. An instance rests between two
/// calls and keeps its connection, and so the database comes back, too.
async fn cold_call(url: &str) -> (Result<(), Problem>, Database) {
    let settings = [("DATABASE_POOL", "1"), ("DATABASE_TIMEOUT", "3s")];
    let mut reader = Reader::from_pairs(settings);
    let settings = settings::Database::at(url.to_owned(), &mut reader);
    reader.finish().unwrap();
    let db = Database::new(&settings, Some(SERVING_ROLE)).unwrap();
    let read = db.run(signing_keys::list(db.pool())).await;
    (read.map(|_| ()).map_err(Problem::from), db)
}

#[tokio::test]
async fn a_thousand_cold_functions_get_a_connection_or_a_503() {
    let dir = open_dir();
    let (cluster, postgres, mut owner) = migrated(dir.path()).await;
    let limit = format!("ALTER SYSTEM SET max_connections = {ALLOWED}");
    owner.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(limit))).await.unwrap();
    drop(owner);
    postgres.stop().await;
    let _postgres = Postgres::start(cluster.clone()).await.unwrap();
    let url = cluster.url("postgres");
    let calls = join_all((0..FUNCTIONS).map(|_| cold_call(&url)));
    let answers = tokio::time::timeout(Duration::from_mins(1), calls).await.unwrap();
    let refused: Vec<_> = answers.iter().filter_map(|(read, _)| read.as_ref().err()).collect();
    let served = FUNCTIONS - refused.len();
    assert!((1..=ALLOWED).contains(&served), "{served} were served");
    for problem in refused {
        let answer = problem.render("a request");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["retry-after"], "1");
    }
}
