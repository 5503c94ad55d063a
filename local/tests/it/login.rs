//! `POST /login`.

mod equal;
mod meanwhile;
mod passkey;
mod processes;
mod second_factor;
mod throttle;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::Value;
use shared::db;
use shared::refresh_token::RefreshToken;
use shared::role::Role;

use crate::app::{TestApp, credentials};

#[tokio::test]
async fn the_documented_example_signs_in() {
    let app = TestApp::start().await;
    app.user("example").await;
    let body: Value =
        serde_json::from_str(include_str!("../../../shared/contracts/login.json")).unwrap();
    let answer = app.post("/login", body["request"].clone()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let members =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(members(&answer.body), members(&body["response"]));
    assert_eq!(members(&answer.body["user"]), members(&body["response"]["user"]));
    assert_eq!(
        (&answer.body["token_type"], &answer.body["expires_in"]),
        (&"Bearer".into(), &3600.into())
    );
    let wrong = app.login("example", "wrong password").await;
    wrong.assert_problem(401, "invalid_credentials");
    assert_eq!(app.audit().await, ["user_created", "authn_login_success", "authn_login_fail"]);
}

#[tokio::test]
async fn the_access_token_verifies_and_names_a_live_session() {
    let app = TestApp::start().await;
    let user = app.user("ann").await.body["user"]["id"].as_str().unwrap().to_owned();
    let answer = app.login("Ann", "password123").await;
    let token = answer.body["access_token"].as_str().unwrap();
    assert!(token.len() < 600, "{} bytes", token.len());
    let now = app.clock.now();
    let claims = app.verifier.verify(token, now).await.unwrap();
    assert_eq!(
        (claims.sub.to_string(), claims.roles.clone(), claims.ctr),
        (user, vec![Role::Member], 0)
    );
    assert_eq!(claims.exp - claims.iat, 3_600);
    let user = app.db.check(&claims, now).await.unwrap();
    assert_eq!((user.id, user.roles), (claims.sub, vec![Role::Member]));
    let idle = now + Duration::from_hours(24 * 8);
    let ended = app.db.check(&claims, idle).await;
    assert!(matches!(ended, Err(db::Error::SessionRevoked)), "{ended:?}");
}

#[tokio::test]
async fn the_refresh_token_belongs_to_the_session_and_its_salt() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let answer = app.login("ann", "password123").await;
    let token = RefreshToken::parse(answer.body["refresh_token"].as_str().unwrap()).unwrap();
    let (salt, counter): (Vec<u8>, i64) =
        sqlx::query_as("SELECT salt, counter FROM sessions WHERE id = $1")
            .bind(token.session)
            .fetch_one(&app.owner)
            .await
            .unwrap();
    assert_eq!((token.counter, counter), (0, 0));
    assert!(token.is_genuine(&app.keys.signing, &salt));
}

#[tokio::test]
async fn a_disabled_account_is_told_so_only_after_the_right_password() {
    let app = TestApp::start().await;
    app.user("ann").await;
    disable(&app, "ann").await;
    app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
    app.login("ann", "password123").await.assert_problem(403, "account_disabled");
    let failed = "authn_login_fail_disabled";
    assert!(app.audit().await.iter().any(|event| event == failed));
    let sessions: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sessions").fetch_one(&app.owner).await.unwrap();
    assert_eq!(sessions, 0);
}

#[tokio::test]
async fn a_verified_address_signs_in_like_the_name() {
    let app = TestApp::start().await;
    app.user("ann").await;
    sqlx::query("UPDATE users SET email = 'Ann@Example.com', email_key = 'ann@example.com'")
        .execute(&app.owner)
        .await
        .unwrap();
    assert_eq!(app.login("ANN@example.com", "password123").await.status, StatusCode::OK);
    app.login("bob@example.com", "password123").await.assert_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn an_old_cost_is_upgraded_in_the_same_request() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let today = app.another(&[("BCRYPT_COST", "5")]).await;
    assert_eq!(today.login("ann", "password123").await.status, StatusCode::OK);
    assert!(hash(&app).await.starts_with("$2b$05$"));
    let before = today.passwords.rounds();
    assert_eq!(today.login("ann", "password123").await.status, StatusCode::OK);
    assert_eq!(today.passwords.rounds() - before, 1 << 5, "no second upgrade");
}

#[tokio::test]
async fn sign_ins_at_once_all_succeed_on_a_hash_that_is_upgraded() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let today = app.another(&[("BCRYPT_COST", "5")]).await;
    let other = app.another(&[("BCRYPT_COST", "5")]).await;
    let attempts = (0..8).map(|n| if n % 2 == 0 { &today } else { &other });
    let answers = attempts.map(|instance| instance.login("ann", "password123"));
    for answer in futures_util::future::join_all(answers).await {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    assert!(hash(&app).await.starts_with("$2b$05$"));
}

#[tokio::test]
async fn a_plain_hash_from_another_app_signs_in_and_is_upgraded() {
    let app = TestApp::start().await;
    app.user("ann").await;
    // bcrypt of `U*U` at cost 5: a vector of crypt_blowfish.
    let plain = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    sqlx::query("UPDATE passwords SET scheme = 'bcrypt', pepper_id = NULL, hash = $1")
        .bind(plain)
        .execute(&app.owner)
        .await
        .unwrap();
    app.login("ann", "U*V").await.assert_problem(401, "invalid_credentials");
    assert_eq!(app.login("ann", "U*U").await.status, StatusCode::OK);
    let (scheme, pepper): (String, String) =
        sqlx::query_as("SELECT scheme, pepper_id FROM passwords")
            .fetch_one(&app.owner)
            .await
            .unwrap();
    assert_eq!((scheme.as_str(), &pepper), ("peppered", &app.keys.pepper.current));
    assert_eq!(app.login("ann", "U*U").await.status, StatusCode::OK);
}

#[tokio::test]
async fn sign_in_checks_only_shape_and_size() {
    let app = TestApp::start().await;
    for (name, password) in [("x", "y"), ("Sir Old Name", "short"), ("\u{430}dmin", "\u{1f511}")] {
        let answer = app.post("/login", credentials(name, password)).await;
        answer.assert_problem(401, "invalid_credentials");
    }
    let (long, secret) = ("x".repeat(255), "x".repeat(1_025));
    for (name, password, pointer) in [
        ("", "y", "/username"),
        (long.as_str(), "y", "/username"),
        ("x", "", "/password"),
        ("x", &secret, "/password"),
    ] {
        let answer = app.post("/login", credentials(name, password)).await;
        answer.assert_problem(422, "validation_failed");
        assert_eq!(answer.field_errors().len(), 1);
        assert_eq!(answer.field_errors()[0].0, pointer);
    }
}

#[tokio::test]
async fn an_audit_row_says_who_and_whence_and_holds_no_name() {
    let app = TestApp::start().await;
    app.user("ann").await;
    // Neither valid UTF-8 nor short.
    let agent = [b"agent \xff".as_slice(), &[b'x'; 300]].concat();
    let request = Request::post("/login")
        .header("content-type", "application/json; charset=utf-8")
        .header("user-agent", agent)
        .body(Bytes::from(credentials("ann", "password123").to_string()))
        .unwrap();
    let answer = app.send(request).await;
    assert_eq!(answer.status, StatusCode::OK);
    let row: Value =
        sqlx::query_scalar("SELECT to_jsonb(audit) FROM audit WHERE event = 'authn_login_success'")
            .fetch_one(&app.owner)
            .await
            .unwrap();
    assert_eq!(row["request_id"], answer.headers["x-request-id"].to_str().unwrap());
    assert_eq!(row["subject"], answer.body["user"]["id"]);
    assert_eq!(row["address"], "127.0.0.1");
    let agent = row["user_agent"].as_str().unwrap();
    assert!(agent.starts_with("agent \u{fffd}xxx") && agent.chars().count() == 256, "{agent}");
    assert!(row["session"].is_string());
    assert!(!row.to_string().contains("ann"), "{row}");
}

#[tokio::test]
async fn the_serving_role_cannot_change_the_audit_log_or_the_keys() {
    let app = TestApp::start().await;
    app.user("ann").await;
    for statement in [
        "UPDATE audit SET event = 'nothing'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "DELETE FROM signing_keys",
        "INSERT INTO signing_keys VALUES ('kid', '{}', now(), NULL)",
        "CREATE TABLE mine ()",
    ] {
        let mut serving = app.owner.begin().await.unwrap();
        sqlx::query("SET LOCAL ROLE keywire_app").execute(&mut *serving).await.unwrap();
        let refused = sqlx::query(statement).execute(&mut *serving).await.unwrap_err();
        let code =
            refused.as_database_error().and_then(|error| error.code().map(|c| c.to_string()));
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {refused}");
    }
}

/// Disables an account, as an administrator will.
pub(crate) async fn disable(app: &TestApp, name: &str) {
    let disabled = sqlx::query("UPDATE users SET status = 'disabled' WHERE username_key = $1")
        .bind(name)
        .execute(&app.owner)
        .await
        .unwrap();
    assert_eq!(disabled.rows_affected(), 1);
}

/// The stored hash of the only user.
async fn hash(app: &TestApp) -> String {
    sqlx::query_scalar("SELECT hash FROM passwords").fetch_one(&app.owner).await.unwrap()
}
