//! `GET /.well-known/jwks.json`, `GET /.well-known/change-password` and `GET /health`.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;
use shared::access_token::thumbprint;

use crate::app::TestApp;
use crate::statements::Statements;

#[tokio::test]
async fn the_key_set_shows_the_public_halves_of_current_and_next() {
    let app = TestApp::start().await;
    let answer = app.get("/.well-known/jwks.json").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["cache-control"], "public, max-age=300");
    let keys = answer.body["keys"].as_array().unwrap();
    let mut shown: Vec<_> =
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect();
    let signing = &app.keys.signing;
    let held = [&signing.current, &signing.next].map(|key| thumbprint(&key.public_key().unwrap()));
    let mut held = held.to_vec();
    shown.sort();
    held.sort();
    assert_eq!(shown, held);
    for key in keys {
        let mut members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"], "no private member");
    }
}

#[tokio::test]
async fn a_retired_key_is_no_longer_shown() {
    let app = TestApp::start().await;
    sqlx::query("UPDATE signing_keys SET retire_at = now() - interval '1 hour' WHERE kid = $1")
        .bind(thumbprint(&app.keys.signing.current.public_key().unwrap()))
        .execute(&app.owner)
        .await
        .unwrap();
    let answer = app.get("/.well-known/jwks.json").await;
    assert_eq!(answer.body["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn how_long_the_key_set_is_kept_is_set() {
    let app = TestApp::with(&[("KEYS_MAX_AGE", "1s"), ("JWKS_MAX_AGE", "2min")]).await;
    let shown = async || app.get("/.well-known/jwks.json").await;
    let before = shown().await;
    assert_eq!(before.headers["cache-control"], "public, max-age=120");
    sqlx::query("DELETE FROM signing_keys").execute(&app.owner).await.unwrap();
    let read_again = async {
        while shown().await.body == before.body {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), read_again).await.unwrap();
}

#[tokio::test]
async fn health_answers_while_every_hashing_thread_is_busy() {
    let busy = [("BCRYPT_COST", "14"), ("BCRYPT_THREADS", "1")];
    let app = TestApp::with(&busy).await;
    let logins = join_all((0..4).map(|_| app.login("nobody", "password")));
    let healthy = async {
        // The first hash has begun once the admission has been written.
        let asked = "SELECT EXISTS (SELECT FROM buckets)";
        while !sqlx::query_scalar::<_, bool>(asked).fetch_one(&app.owner).await.unwrap() {
            tokio::task::yield_now().await;
        }
        let answer =
            tokio::time::timeout(Duration::from_secs(10), app.get("/health")).await.unwrap();
        (answer.status, answer.body)
    };
    tokio::select! {
        biased;
        health = healthy => assert_eq!(health, (StatusCode::OK, json!({ "status": "ok" }))),
        // Four hashes take turns on one thread: health must not wait for the last of them.
        _ = logins => panic!("health answered after every hash"),
    }
}

#[tokio::test]
async fn the_key_set_is_kept_while_the_database_is_away() {
    let app = TestApp::with(&[("KEYS_MAX_AGE", "1s")]).await;
    let (statements, _counting) = Statements::count();
    let before = app.get("/.well-known/jwks.json").await;
    sqlx::query("ALTER TABLE signing_keys RENAME TO gone").execute(&app.owner).await.unwrap();
    statements.take();
    let deadline = Instant::now() + Duration::from_secs(30);
    // Until the keys are too old and were asked for in vain.
    while statements.take().is_empty() {
        assert!(Instant::now() < deadline, "nothing was read again");
        let after = app.get("/.well-known/jwks.json").await;
        assert_eq!((after.status, after.body), (StatusCode::OK, before.body.clone()));
    }
}

#[tokio::test]
async fn a_silent_database_is_waited_for_once_by_all_who_ask_for_the_keys() {
    let app = TestApp::with(&[("DATABASE_TIMEOUT", "1s"), ("KEYS_RETRY_PAUSE", "30s")]).await;
    let mut silent = app.owner.begin().await.unwrap();
    let lock = sqlx::raw_sql("LOCK TABLE signing_keys IN ACCESS EXCLUSIVE MODE");
    lock.execute(&mut *silent).await.unwrap();
    let began = Instant::now();
    let asked = (0..50).map(|_| app.get("/.well-known/jwks.json"));
    for answer in join_all(asked).await {
        answer.assert_problem(503, "unavailable");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "one by one: {:?}", began.elapsed());
}

#[tokio::test]
async fn password_managers_are_led_to_the_page_to_change_a_password() {
    for (public_url, page) in [
        ("", "/account/password"),
        ("https://app.example.com", "https://app.example.com/account/password"),
        ("https://example.com/app/", "https://example.com/app/account/password"),
    ] {
        let app = TestApp::with(&[("PUBLIC_URL", public_url)]).await;
        let answer = app.get("/.well-known/change-password").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert_eq!(answer.headers["location"], page);
        // By this one they find out whether a server answers 200 to whatever is asked.
        let nothing =
            "/.well-known/resource-that-should-not-exist-whose-status-code-should-not-be-200";
        app.get(nothing).await.assert_problem(404, "not_found");
    }
}
