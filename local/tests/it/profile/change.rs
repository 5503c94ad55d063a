//! `PATCH /me`, `DELETE /me`, `POST /me/password`, `GET /me/export`.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::app::{Answer, TestApp, credentials};
use crate::authenticator::Authenticator;
use crate::enrolled::{ORIGIN, PARTY, PUBLIC_URL, Passkey, TotpApp};

async fn patch(app: &TestApp, token: &str, body: Value) -> Answer {
    app.call(Method::PATCH, "/me", token, Some(body)).await
}

async fn delete(app: &TestApp, token: &str, password: &str) -> Answer {
    app.call(Method::DELETE, "/me", token, Some(json!({ "password": password }))).await
}

async fn change_password(app: &TestApp, token: &str, current: &str, new: &str) -> Answer {
    let body = json!({ "current_password": current, "new_password": new });
    app.call(Method::POST, "/me/password", token, Some(body)).await
}

async fn me(app: &TestApp, token: &str) -> Answer {
    app.call(Method::GET, "/me", token, None).await
}

#[tokio::test]
async fn a_profile_is_unicode_and_each_field_changes_alone() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    let name = "  A\u{308}nn \u{1f469}\u{200d}\u{1f680} \u{5d0}\u{5d1}  ";
    let answer = patch(&app, &ann.access, json!({ "display_name": name })).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let shown = "\u{c4}nn \u{1f469}\u{200d}\u{1f680} \u{5d0}\u{5d1}";
    assert_eq!(answer.body["user"]["display_name"], shown, "NFC, without the space around it");
    let bio = "First line\nsecond \u{2764}";
    let answer = patch(&app, &ann.access, json!({ "bio": bio })).await;
    assert_eq!(
        (&answer.body["user"]["display_name"], &answer.body["user"]["bio"]),
        (&json!(shown), &json!(bio))
    );
    patch(&app, &ann.access, json!({ "display_name": null })).await;
    let answer = me(&app, &ann.access).await;
    assert_eq!(
        (&answer.body["user"]["display_name"], &answer.body["user"]["bio"]),
        (&Value::Null, &json!(bio))
    );
    assert_eq!(app.audit().await[2..], ["user_updated", "user_updated", "user_updated"]);
}

#[tokio::test]
async fn fields_that_are_not_a_profiles_and_wrong_values_are_422() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    for (body, field, code) in [
        (json!({ "role": "admin" }), "/role", "unknown_field"),
        (json!({ "roles": ["admin"] }), "/roles", "unknown_field"),
        (json!({ "id": "x" }), "/id", "unknown_field"),
        (json!({ "email_verified": true }), "/email_verified", "unknown_field"),
        (json!({ "username": "bob" }), "/username", "unknown_field"),
        (json!({ "status": "active" }), "/status", "unknown_field"),
        (json!({ "display_name": 1 }), "/display_name", "wrong_type"),
        (json!({ "display_name": "  " }), "/display_name", "required"),
        (json!({ "display_name": "x".repeat(65) }), "/display_name", "too_long"),
        (json!({ "display_name": "a\u{202e}b" }), "/display_name", "invalid_characters"),
        (json!({ "display_name": "a\nb" }), "/display_name", "invalid_characters"),
        (json!({ "bio": "x".repeat(501) }), "/bio", "too_long"),
        (json!({ "bio": "a\0b" }), "/bio", "invalid_characters"),
    ] {
        let answer = patch(&app, &ann.access, body.clone()).await;
        answer.assert_problem(422, "validation_failed");
        assert_eq!(answer.field_errors(), [(field.to_owned(), code.to_owned())], "{body}");
    }
    assert_eq!(app.audit().await.len(), 2, "nothing was changed");
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions_and_keeps_this_one() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let [here, there] = [app.sign_in("ann").await, app.sign_in("ann").await];
    let answer = change_password(&app, &here.access, "password123", "correct horse").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    me(&app, &there.access).await.assert_problem(401, "session_revoked");
    let refresh = json!({ "refresh_token": there.refresh });
    app.post("/token/refresh", refresh).await.assert_problem(401, "session_revoked");
    assert_eq!(me(&app, &here.access).await.status, StatusCode::OK);
    app.login("ann", "password123").await.assert_problem(401, "invalid_credentials");
    assert_eq!(app.login("ann", "correct horse").await.status, StatusCode::OK);
    assert!(app.audit().await.contains(&"authn_password_change".to_owned()));
}

#[tokio::test]
async fn a_new_password_follows_the_rules_of_registration() {
    let app = TestApp::with(&[("PASSWORD_POLICY", "strict")]).await;
    app.post("/register", credentials("marguerite", "correct horse battery")).await;
    let answer = app.login("marguerite", "correct horse battery").await;
    let token = answer.body["access_token"].as_str().unwrap();
    for (new, code) in
        [("short", "too_short"), ("password123", "too_common"), ("marguerite1", "too_similar")]
    {
        let answer = change_password(&app, token, "correct horse battery", new).await;
        answer.assert_problem(422, "validation_failed");
        assert_eq!(answer.field_errors(), [("/new_password".to_owned(), code.to_owned())]);
    }
}

#[tokio::test]
async fn wrong_passwords_of_a_session_are_counted_and_lock_as_at_sign_in() {
    let app = TestApp::start().await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    for _ in 0..3 {
        change_password(&app, &ann.access, "a guess", "correct horse")
            .await
            .assert_problem(403, "wrong_password");
    }
    delete(&app, &ann.access, "a guess").await.assert_problem(403, "wrong_password");
    app.login("ann", "a guess").await.assert_problem(401, "invalid_credentials");
    let rounds = app.passwords.rounds();
    change_password(&app, &ann.access, "password123", "correct horse")
        .await
        .assert_problem(429, "rate_limited");
    delete(&app, &ann.access, "password123").await.assert_problem(429, "rate_limited");
    assert_eq!(app.passwords.rounds(), rounds, "nothing was hashed");
    app.login("ann", "password123").await.assert_problem(429, "rate_limited");
    assert_eq!(me(&app, &ann.access).await.status, StatusCode::OK, "the session goes on");
    app.clock.advance(Duration::from_secs(10));
    let answer = change_password(&app, &ann.access, "password123", "correct horse").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
}

#[tokio::test]
async fn of_two_changes_of_a_password_at_once_one_is_made() {
    let app = TestApp::with(&[("BCRYPT_COST", "6")]).await;
    app.user("ann").await;
    let [here, there] = [app.sign_in("ann").await, app.sign_in("ann").await];
    let (first, second) = tokio::join!(
        change_password(&app, &here.access, "password123", "the first one"),
        change_password(&app, &there.access, "password123", "the second one"),
    );
    let made =
        [&first, &second].into_iter().filter(|answer| answer.status == StatusCode::NO_CONTENT);
    assert_eq!(made.count(), 1, "{first:?} {second:?}");
}

#[tokio::test]
async fn a_deleted_account_is_gone_and_its_name_is_kept_for_thirty_days() {
    let app = TestApp::start().await;
    app.user("Ann").await;
    let [here, there] = [app.sign_in("ann").await, app.sign_in("ann").await];
    delete(&app, &here.access, "wrong password").await.assert_problem(403, "wrong_password");
    assert_eq!(delete(&app, &here.access, "password123").await.status, StatusCode::NO_CONTENT);
    for token in [&here.access, &there.access] {
        me(&app, token).await.assert_problem(401, "session_revoked");
    }
    app.login("ann", "password123").await.assert_problem(401, "invalid_credentials");
    let left = "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM passwords)
                     + (SELECT count(*) FROM sessions) + (SELECT count(*) FROM user_roles)";
    let left: i64 = sqlx::query_scalar(left).fetch_one(&app.owner).await.unwrap();
    assert_eq!(left, 0);
    assert!(app.audit().await.contains(&"user_deleted".to_owned()));
    let again = app.post("/register", credentials("ANN", "password123")).await;
    again.assert_problem(409, "username_taken");
    app.clock.advance(Duration::from_hours(30 * 24));
    app.user("ann").await;
}

#[tokio::test]
async fn a_name_that_is_taken_while_its_account_is_deleted_stays_reserved() {
    let app = TestApp::with(&[("DATABASE_POOL", "10")]).await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    // The deletion has happened and is not yet committed.
    let mut deleting = app.owner.begin().await.unwrap();
    for statement in [
        "DELETE FROM users",
        "INSERT INTO reserved_names VALUES ('ann', now() + interval '40 days')",
    ] {
        sqlx::query(statement).execute(&mut *deleting).await.unwrap();
    }
    let committed = async {
        let asked = "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
                                    WHERE NOT granted AND datname = current_database())";
        while !sqlx::query_scalar::<_, bool>(asked).fetch_one(&app.owner).await.unwrap() {
            tokio::task::yield_now().await;
        }
        deleting.commit().await.unwrap();
    };
    let wish = app.post("/register", credentials("ann", "password123"));
    let (answer, ()) = tokio::join!(wish, committed);
    answer.assert_problem(409, "username_taken");
    me(&app, &ann.access).await.assert_problem(401, "session_revoked");
}

#[tokio::test]
async fn the_last_administrator_cannot_delete_themselves() {
    let app = TestApp::start().await;
    app.user("ann").await;
    app.user("bob").await;
    app.make_admin("ann").await;
    let ann = app.sign_in("ann").await;
    delete(&app, &ann.access, "password123").await.assert_problem(409, "last_admin");
    assert_eq!(me(&app, &ann.access).await.status, StatusCode::OK);
    app.make_admin("bob").await;
    assert_eq!(delete(&app, &ann.access, "password123").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn an_export_holds_everything_about_oneself_no_secret_and_nobody_else() {
    let app = TestApp::with(&[PUBLIC_URL]).await;
    app.user("ann").await;
    app.user("bob").await;
    app.make_admin("bob").await;
    let [first, _] = [app.sign_in("ann").await, app.sign_in("ann").await];
    let bob = app.sign_in("bob").await;
    let id = me(&app, &first.access).await.body["user"]["id"].as_str().unwrap().to_owned();
    app.call(Method::POST, &format!("/users/{id}/unlock"), &bob.access, None).await;
    TotpApp::enrol(&app, &first.access).await;
    Passkey::enrol(&app, &first.access, Authenticator::es256(ORIGIN, PARTY)).await;
    app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
    patch(&app, &first.access, json!({ "bio": "hello" })).await;
    let answer = app.call(Method::GET, "/me/export", &first.access, None).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let all = &answer.body;
    assert_eq!((&all["user"]["username"], &all["user"]["bio"]), (&json!("ann"), &json!("hello")));
    let count = |name: &str| all[name].as_array().unwrap().len();
    assert_eq!(
        [count("roles"), count("sessions"), count("sign_ins"), count("audit")],
        [1, 2, 1, 8]
    );
    for entry in all["audit"].as_array().unwrap() {
        let is_own = entry["actor"].is_null() || entry["actor"] == *id;
        assert_eq!(entry.get("address").is_some(), is_own, "{entry}");
        assert_eq!(entry.get("session").is_some(), is_own, "{entry}");
    }
    assert_eq!(count("passkeys"), 1);
    assert_eq!(all["authenticator_app"]["recovery_codes_left"], 10);
    assert!(all["password"]["changed_at"].is_string());
    assert_eq!((&all["links"], &all["mails"]), (&json!([]), &json!([])));
    let text = all.to_string();
    for secret in ["salt", "sealed", "$2b$", "bob"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    // Whatever a later table holds about a user has to be added.
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT table_name::text FROM information_schema.columns
         WHERE table_schema = 'public' AND column_name = 'user_id' ORDER BY 1",
    )
    .fetch_all(&app.owner)
    .await
    .unwrap();
    // But for challenges, which are gone in minutes.
    let exported = [
        "one_time_tokens",
        "outbox",
        "passkeys",
        "passwords",
        "recovery_codes",
        "sessions",
        "totp",
        "user_roles",
    ];
    let kept = tables.iter().filter(|table| *table != "challenges");
    assert!(kept.eq(exported.iter()), "add it to the export: {tables:?}");
}
