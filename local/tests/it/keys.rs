//! A process does not start with keys that are not its database's.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use functions::keys::{check_pepper, check_signing};
use secrecy::SecretString;
use shared::access_token::TokenError;
use shared::clock::Clock;
use shared::db::Database;
use shared::db::signing_keys::register_first;
use shared::secrets::Keys;
use shared::settings::{self, Reader};
use sqlx::{Connection, PgConnection};

use crate::app::TestApp;
use crate::statements::Statements;

fn database(app: &TestApp) -> Database {
    let mut reader = Reader::from_pairs::<String, String>([]);
    let url = SecretString::from(app.database_url());
    Database::new(&settings::Database::at(url, &mut reader), None).unwrap()
}

#[tokio::test]
async fn the_databases_own_keys_are_taken() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let db = database(&app);
    check_signing(&db, &app.keys.signing).await.unwrap();
    check_pepper(&db, &app.keys.pepper).await.unwrap();
}

#[tokio::test]
async fn another_sets_signing_keys_are_refused() {
    let app = TestApp::start().await;
    let other = Keys::generate(Clock::System.now()).unwrap();
    let why = check_signing(&database(&app), &other.signing).await.unwrap_err().to_string();
    assert!(why.contains("is not published in this database"), "{why}");
    let mut older = app.keys.signing.clone();
    older.next = other.signing.next;
    let why = check_signing(&database(&app), &older).await.unwrap_err().to_string();
    assert!(why.contains("which this set lacks"), "{why}");
}

#[tokio::test]
async fn a_set_that_lacks_a_pepper_in_use_is_refused() {
    let app = TestApp::start().await;
    let mut pepper = app.keys.pepper.clone();
    let key = pepper.keys.remove(&pepper.current).unwrap();
    pepper.keys.insert("p2".to_owned(), key);
    pepper.current = "p2".to_owned();
    check_pepper(&database(&app), &pepper).await.unwrap();
    app.user("ann").await;
    app.user("bob").await;
    let why = check_pepper(&database(&app), &pepper).await.unwrap_err().to_string();
    assert!(why.contains(&format!("need pepper {}", app.keys.pepper.current)), "{why}");
}

#[tokio::test]
async fn of_two_first_registrations_at_once_one_is_made() {
    let app = TestApp::start().await;
    sqlx::query("DELETE FROM signing_keys").execute(&app.owner).await.unwrap();
    let other = Keys::generate(Clock::System.now()).unwrap();
    let mut first = app.owner.begin().await.unwrap();
    assert!(register_first(&mut *first, &app.keys.signing).await.unwrap());
    let url = app.database_url().to_owned();
    let mut second = tokio::spawn(async move {
        let mut owner = PgConnection::connect(&url).await.unwrap();
        register_first(&mut owner, &other.signing).await.unwrap()
    });
    // Not yet committed, the first one's keys cannot be seen: the second must wait for them.
    let waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted
                                  AND relation = 'signing_keys'::regclass)";
    let deadline = Instant::now() + Duration::from_mins(1);
    while !second.is_finished()
        && !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&app.owner).await.unwrap()
    {
        assert!(Instant::now() < deadline, "neither done nor waiting");
        tokio::task::yield_now().await;
    }
    first.commit().await.unwrap();
    assert!(!(&mut second).await.unwrap(), "both were made");
    check_signing(&database(&app), &app.keys.signing).await.unwrap();
}

#[tokio::test]
async fn unknown_key_ids_do_not_choose_how_often_keys_are_read() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let answer = app.login("ann", "password123").await;
    let good = answer.body["access_token"].as_str().unwrap();
    let now = app.clock.now();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"unknown"}"#);
    let forged = format!("{header}.{}", good.split_once('.').unwrap().1);
    let (statements, _counting) = Statements::count();
    for _ in 0..20 {
        assert!(matches!(app.verifier.verify(&forged, now).await, Err(TokenError::Invalid(_))));
        app.verifier.verify(good, now).await.unwrap();
    }
    assert_eq!(statements.take().len(), 1, "read once for all of them");
}

#[tokio::test]
async fn a_key_published_later_is_known_after_the_pause_that_is_set() {
    let app = TestApp::with(&[("KEYS_RELOAD_PAUSE", "1s")]).await;
    app.user("ann").await;
    let answer = app.login("ann", "password123").await;
    let good = answer.body["access_token"].as_str().unwrap();
    let now = app.clock.now();
    let hide = "UPDATE signing_keys SET kid = 'hidden ' || kid";
    sqlx::query(hide).execute(&app.owner).await.unwrap();
    assert!(matches!(app.verifier.verify(good, now).await, Err(TokenError::Invalid(_))));
    let publish = "UPDATE signing_keys SET kid = replace(kid, 'hidden ', '')";
    sqlx::query(publish).execute(&app.owner).await.unwrap();
    // Well before the 30 s that are the default.
    let deadline = Instant::now() + Duration::from_secs(20);
    while app.verifier.verify(good, now).await.is_err() {
        assert!(Instant::now() < deadline, "the keys were not read again");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn known_keys_verify_while_the_database_is_away() {
    let app = TestApp::with(&[("KEYS_MAX_AGE", "1s")]).await;
    app.user("ann").await;
    let answer = app.login("ann", "password123").await;
    let good = answer.body["access_token"].as_str().unwrap();
    let now = app.clock.now();
    sqlx::query("ALTER TABLE signing_keys RENAME TO gone").execute(&app.owner).await.unwrap();
    let unread = app.verifier.verify(good, now).await;
    assert!(matches!(unread, Err(TokenError::Unavailable)), "not known to be wrong: {unread:?}");
    sqlx::query("ALTER TABLE gone RENAME TO signing_keys").execute(&app.owner).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while app.verifier.verify(good, now).await.is_err() {
        assert!(Instant::now() < deadline, "the keys were not read again");
        tokio::task::yield_now().await;
    }
    let (statements, _counting) = Statements::count();
    sqlx::query("ALTER TABLE signing_keys RENAME TO gone").execute(&app.owner).await.unwrap();
    statements.take();
    let deadline = Instant::now() + Duration::from_secs(30);
    // Until the keys are too old and were asked for in vain.
    while statements.take().is_empty() {
        assert!(Instant::now() < deadline, "nothing was read again");
        app.verifier.verify(good, now).await.unwrap();
        tokio::task::yield_now().await;
    }
    app.verifier.verify(good, now).await.unwrap();
}
