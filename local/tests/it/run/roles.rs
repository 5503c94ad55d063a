//! The roles of a cluster of its own: roles are shared by every database of the one that tests share.

use std::fs;
use std::path::Path;

use local::postgres::Postgres;
use shared::db::pool::Pool;
use shared::db::{Database, MIGRATOR, SERVING_ROLE, roles};
use shared::settings::{self, Reader};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::cluster::cluster;
use super::open_dir;
use crate::docs::read;

/// What stands for a password in the page, and what is put there.
const PASSWORD: (&str, &str) = ("…", "a-secret");

/// The statement of docs/operations.md that begins with these words, with a password.
fn statement(begins: &str) -> String {
    let page = read("docs/operations.md");
    let line = page.lines().find(|line| line.starts_with(begins));
    line.expect("docs/operations.md shows it").replace(PASSWORD.0, PASSWORD.1)
}

/// The address of docs/operations.md that begins so, on this cluster.
fn address(begins: &str, socket: &Path) -> String {
    let page = read("docs/operations.md");
    let address = page.split('`').find(|text| text.starts_with(begins));
    let address = address.expect("docs/operations.md shows it").replace(PASSWORD.0, PASSWORD.1);
    let address = address.replace("@host/name", "@localhost/postgres");
    let more = if address.contains('?') { '&' } else { '?' };
    format!("{address}{more}host={}&sslmode=disable", socket.display())
}

/// A running cluster with the roles and tables, which wants passwords from all but its owner.
async fn start(dir: &Path) -> (Postgres, PgConnection) {
    let cluster = cluster(dir).await;
    Postgres::start(cluster.clone()).await.unwrap().stop().await;
    let rules = "local all keywire trust\nlocal all all scram-sha-256\n";
    fs::write(cluster.data().join("pg_hba.conf"), rules).unwrap();
    let postgres = Postgres::start(cluster.clone()).await.unwrap();
    let mut owner = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    roles::create(&mut owner).await.unwrap();
    MIGRATOR.run(&mut owner).await.unwrap();
    (postgres, owner)
}

fn serving(url: &str) -> Pool {
    let mut reader = Reader::from_pairs([("", ""); 0]);
    let settings = settings::Database::at(url, &mut reader);
    reader.finish().unwrap();
    Database::new(&settings, None).unwrap().pool().clone()
}

#[tokio::test]
async fn both_ways_of_the_operations_page_serve_as_the_serving_role() {
    let dir = open_dir();
    let (postgres, mut owner) = start(dir.path()).await;
    let socket = cluster(dir.path()).await.socket().to_owned();
    let ways = [
        ("ALTER ROLE keywire_app LOGIN", "ALTER ROLE keywire_app SET", "postgres://keywire_app:"),
        ("CREATE ROLE app", "ALTER ROLE app SET", "postgres://app:"),
    ];
    for (role, limit, url) in ways {
        let url = address(url, &socket);
        let before = serving(&url).lend().await;
        assert!(before.is_err(), "{role}: nobody may log in before");
        for words in [role, limit] {
            sqlx::raw_sql(AssertSqlSafe(statement(words))).execute(&mut owner).await.unwrap();
        }
        let wrong = serving(&url.replace(PASSWORD.1, "a-wrong-one")).lend().await;
        assert!(wrong.is_err(), "{role}: the password is asked for");
        let pool = serving(&url);
        let who: String =
            sqlx::query_scalar("SELECT current_user::text").fetch_one(&pool).await.unwrap();
        assert_eq!(who, SERVING_ROLE);
        let limit: String =
            sqlx::query_scalar("SHOW statement_timeout").fetch_one(&pool).await.unwrap();
        assert_eq!(limit, "2s");
        sqlx::query("INSERT INTO audit (at, event) VALUES (now(), 'sys_startup')")
            .execute(&pool)
            .await
            .unwrap();
        assert!(sqlx::query("DELETE FROM audit").execute(&pool).await.is_err(), "{role}");
        assert!(sqlx::query("DROP TABLE users").execute(&pool).await.is_err(), "{role}");
        pool.close();
    }
    owner.close().await.unwrap();
    postgres.stop().await;
}

#[tokio::test]
async fn an_owner_that_is_no_superuser_may_take_on_the_role_it_made() {
    let dir = open_dir();
    let (postgres, mut superuser) = start(dir.path()).await;
    let socket = cluster(dir.path()).await.socket().to_owned();
    let made = "DROP OWNED BY keywire_app; DROP ROLE keywire_app;
                CREATE ROLE plain LOGIN CREATEROLE PASSWORD 'a-secret'";
    sqlx::raw_sql(made).execute(&mut superuser).await.unwrap();
    let address = format!("postgres://plain:a-secret@localhost/postgres?host={}", socket.display());
    let mut owner = PgConnection::connect(&address).await.unwrap();
    // As a start leaves it that was ended in between: from PostgreSQL 16 on, `plain` administers the
    // role and may not take it on; before, it is no member at all.
    let bare = sqlx::raw_sql("CREATE ROLE keywire_app NOLOGIN NOINHERIT");
    bare.execute(&mut owner).await.unwrap();
    let refused = sqlx::raw_sql("SET ROLE keywire_app").execute(&mut owner).await;
    assert!(refused.is_err(), "there is nothing to mend");
    for _ in 0..2 {
        roles::create(&mut owner).await.unwrap();
        sqlx::raw_sql("SET ROLE keywire_app; RESET ROLE").execute(&mut owner).await.unwrap();
    }
    owner.close().await.unwrap();
    superuser.close().await.unwrap();
    postgres.stop().await;
}
