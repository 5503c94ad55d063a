//! The limit holds over processes that share nothing but Postgres.

use futures_util::future::join_all;
use rustix::process::Signal;

use crate::app::{TestApp, credentials};
use crate::run::keywire::Start;
use crate::run::open_dir;

#[tokio::test]
async fn ten_processes_pass_exactly_the_burst() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let dir = open_dir();
    let keys = dir.path().join("keys.json");
    std::fs::write(&keys, app.keys.to_json().unwrap().as_bytes()).unwrap();
    let starting = (0..10).map(|n| {
        let own = dir.path().join(n.to_string());
        std::fs::create_dir(&own).unwrap();
        Start::in_dir(&own)
            .env("DATABASE_URL", app.database_url())
            // The tests' Postgres need not outlive a crash.
            .env("LOG_DURABLE", "off")
            .env("KEYS_FILE", &keys)
            .env("LIMIT_LOGIN_ADDRESS", "1/h burst 30")
            // As in `TestApp`, which hashed the password: cheap, and no wait that a busy machine ends.
            .env("BCRYPT_COST", "4")
            .env("BCRYPT_WAIT", "60s")
            .env("DATABASE_TIMEOUT", "1min")
            .ready()
    });
    let processes = join_all(starting).await;
    let body = credentials("ann", "password123");
    let attempts = processes
        .iter()
        .flat_map(|process| std::iter::repeat_with(|| process.post("/login", &body)).take(10));
    let answers = join_all(attempts).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(200), count(429)), (30, 70));
    let sessions: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sessions").fetch_one(&app.owner).await.unwrap();
    assert_eq!(sessions, 30);
    for ended in join_all(processes.into_iter().map(|process| process.end(Signal::TERM))).await {
        assert!(ended.success());
    }
}
