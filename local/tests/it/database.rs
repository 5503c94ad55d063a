//! A database of one test's own, copied from the migrated template.

use std::sync::Arc;

use shared::settings::Reader;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use uuid::Uuid;

/// A database that is dropped with the last holder.
pub(crate) struct TestDatabase {
    /// The owner's URL.
    pub(crate) url: String,
    dropped: Option<Arc<Dropped>>,
}

/// Drops the database when it is dropped itself.
struct Dropped {
    server: PgConnectOptions,
    name: String,
}

impl TestDatabase {
    /// Copies the template that `cargo dev test` made.
    pub(crate) async fn create() -> Self {
        let mut reader = Reader::from_env();
        let template: String = reader.required("TEST_DATABASE_URL", "run `cargo dev test`");
        reader.finish().unwrap();
        let options: PgConnectOptions = template.parse().unwrap();
        let source = options.get_database().unwrap().to_owned();
        let server = options.database("postgres");
        let name = format!("test_{}", Uuid::new_v4().simple());
        let mut connection = server.connect().await.unwrap();
        let copy = AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {source}"));
        connection.execute(sqlx::raw_sql(copy)).await.unwrap();
        connection.close().await.unwrap();
        let url = server.clone().database(&name).to_url_lossy().to_string();
        Self { url, dropped: Some(Arc::new(Dropped { server, name })) }
    }

    /// A database that somebody else drops.
    pub(crate) fn kept(url: String) -> Self {
        Self { url, dropped: None }
    }

    /// Another holder of the same database.
    pub(crate) fn share(&self) -> Self {
        Self { url: self.url.clone(), dropped: self.dropped.clone() }
    }
}

impl Drop for Dropped {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A thread of its own: the test's runtime may be the one that is ending.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let mut connection = server.connect().await?;
                let drop = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
                connection.execute(sqlx::raw_sql(drop)).await.map(|_| ())
            })
        });
        if let Ok(Err(error)) = dropping.join() {
            // The server goes away with the run; a test that ends it is no failure.
            tracing::debug!(%error, "a test's database was not dropped");
        }
    }
}
