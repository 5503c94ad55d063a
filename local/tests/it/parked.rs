//! Transactions that wait for each other: rows are held until those come to wait that a test is about.

use std::time::{Duration, Instant};

use sqlx::{Postgres, Transaction};

use crate::app::TestApp;

/// Longer than any statement takes on a busy machine.
const LONG: Duration = Duration::from_mins(1);

/// Waits until so many statements wait for a lock.
pub(crate) async fn until_waiting(app: &TestApp, many: i64) {
    let asked = "SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
                 WHERE NOT granted AND datname = current_database()";
    let deadline = Instant::now() + LONG;
    while sqlx::query_scalar::<_, i64>(asked).fetch_one(&app.owner).await.unwrap() < many {
        assert!(Instant::now() < deadline, "nobody waits");
        tokio::task::yield_now().await;
    }
}

/// A transaction of the owner's that has run this.
pub(crate) async fn held(app: &TestApp, statement: &'static str) -> Transaction<'static, Postgres> {
    let mut transaction = app.owner.begin().await.unwrap();
    sqlx::raw_sql(statement).execute(&mut *transaction).await.unwrap();
    transaction
}

/// Lets `first` come to wait for what the statement holds, then `second` for either, and gives it up;
/// what becomes of both.
pub(crate) async fn queue<A, B>(
    app: &TestApp,
    statement: &'static str,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    let holder = held(app, statement).await;
    let second = async {
        until_waiting(app, 1).await;
        second.await
    };
    let given_up = async {
        until_waiting(app, 2).await;
        holder.rollback().await.unwrap();
    };
    let (first, second, ()) = tokio::join!(first, second, given_up);
    (first, second)
}
