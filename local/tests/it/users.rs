//! `/users` and `GET /audit`.

pub(crate) mod access;
mod audit;
mod send_reset;

use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use shared::db::notices;
use sqlx::postgres::PgListener;

use crate::app::{Answer, SignedIn, TestApp};
use crate::enrolled::TotpApp;

/// An app with an administrator `root1` and users of these names.
async fn app(names: &[&str]) -> (TestApp, SignedIn) {
    let app = TestApp::start().await;
    app.user("root1").await;
    app.make_admin("root1").await;
    for name in names {
        app.user(name).await;
    }
    let admin = app.sign_in("root1").await;
    (app, admin)
}

pub(crate) async fn id(app: &TestApp, name: &str) -> String {
    let id = sqlx::query_scalar("SELECT id::text FROM users WHERE username_key = $1").bind(name);
    id.fetch_one(&app.owner).await.unwrap()
}

async fn get(app: &TestApp, admin: &SignedIn, path: &str) -> Answer {
    app.call(Method::GET, path, &admin.access, None).await
}

async fn patch(app: &TestApp, admin: &SignedIn, id: &str, body: Value) -> Answer {
    app.call(Method::PATCH, &format!("/users/{id}"), &admin.access, Some(body)).await
}

async fn me(app: &TestApp, user: &SignedIn) -> Answer {
    app.call(Method::GET, "/me", &user.access, None).await
}

/// The usernames of a page.
fn names(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let users = answer.body["users"].as_array().unwrap();
    users.iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn accounts_are_listed_page_by_page_and_found_by_how_a_name_or_address_begins() {
    let (app, admin) = app(&["Dora", "anna", "annika", "bert", "Carl"]).await;
    sqlx::query(
        "UPDATE users SET email = 'Annual@example.com', email_key = 'annual@example.com'
                 WHERE username = 'bert'",
    )
    .execute(&app.owner)
    .await
    .unwrap();
    let mut found = Vec::new();
    let mut path = "/users?limit=2".to_owned();
    loop {
        let page = get(&app, &admin, &path).await;
        found.extend(names(&page));
        assert!(page.body["users"].as_array().unwrap().len() <= 2);
        let Some(cursor) = page.body["next_cursor"].as_str() else { break };
        path = format!("/users?limit=2&cursor={cursor}");
    }
    assert_eq!(found, ["anna", "annika", "bert", "Carl", "Dora", "root1"]);
    for (query, expected) in [
        ("search=ANN", &["anna", "annika", "bert"][..]),
        ("search=anni", &["annika"]),
        ("search=annual%40", &["bert"]),
        ("search=nna", &[]),
        ("search=%25", &[]),
        ("role=admin", &["root1"]),
        ("status=disabled", &[]),
        ("search=a&role=member&status=active&limit=200", &["anna", "annika", "bert"]),
    ] {
        assert_eq!(
            names(&get(&app, &admin, &format!("/users?{query}")).await),
            expected,
            "{query}"
        );
    }
    for (query, parameter) in [
        ("limit=0", "?limit"),
        ("limit=201", "?limit"),
        ("role=owner", "?role"),
        ("cursor=*", "?cursor"),
        ("sort=name", "?sort"),
        ("limit=1&limit=2", "?limit"),
    ] {
        let answer = get(&app, &admin, &format!("/users?{query}")).await;
        answer.assert_problem(422, "validation_failed");
        assert_eq!(answer.field_errors()[0].0, parameter, "{query}");
    }
}

#[tokio::test]
async fn an_account_is_shown_without_its_password_and_an_unknown_one_is_404() {
    let (app, admin) = app(&["ann"]).await;
    let ann = id(&app, "ann").await;
    let answer = get(&app, &admin, &format!("/users/{ann}")).await;
    let user = &answer.body["user"];
    assert_eq!((&user["username"], &user["status"]), (&json!("ann"), &json!("active")));
    let mut members: Vec<_> = user.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    let expected = ["created_at", "display_name", "email", "id", "roles", "status", "username"];
    assert_eq!(members, expected);
    for unknown in ["x", "019ab5a0-7f3c-7cc1-9c55-1f3f5e4f7a10"] {
        get(&app, &admin, &format!("/users/{unknown}")).await.assert_problem(404, "not_found");
        let answer = patch(&app, &admin, unknown, json!({ "status": "disabled" })).await;
        answer.assert_problem(404, "not_found");
        for action in ["revoke", "unlock", "reset-factors"] {
            let path = format!("/users/{unknown}/{action}");
            let answer = app.call(Method::POST, &path, &admin.access, None).await;
            answer.assert_problem(404, "not_found");
        }
    }
}

#[tokio::test]
async fn the_next_call_is_judged_by_the_new_roles() {
    let (app, admin) = app(&["ann"]).await;
    let (user, ann) = (app.sign_in("ann").await, id(&app, "ann").await);
    get(&app, &user, "/users").await.assert_problem(403, "forbidden");
    let answer = patch(&app, &admin, &ann, json!({ "roles": ["admin", "moderator"] })).await;
    assert_eq!(answer.body["user"]["roles"], json!(["admin", "member", "moderator"]), "{answer:?}");
    assert_eq!(get(&app, &user, "/users").await.status, StatusCode::OK, "the token is the old one");
    let answer = patch(&app, &user, &id(&app, "root1").await, json!({ "roles": [] })).await;
    assert_eq!(answer.body["user"]["roles"], json!(["member"]), "{answer:?}");
    get(&app, &admin, "/users").await.assert_problem(403, "forbidden");
    assert_eq!(me(&app, &admin).await.status, StatusCode::OK, "the session goes on");
    let changes = app.audit().await;
    let changes = changes.iter().filter(|event| *event == "privilege_permissions_changed").count();
    assert_eq!(changes, 3, "the command line's, too");
}

#[tokio::test]
async fn a_disabled_account_loses_its_sessions_for_good_and_can_be_enabled() {
    let (app, admin) = app(&["ann"]).await;
    let (user, ann) = (app.sign_in("ann").await, id(&app, "ann").await);
    let answer = patch(&app, &admin, &ann, json!({ "status": "disabled" })).await;
    assert_eq!(answer.body["user"]["status"], "disabled", "{answer:?}");
    me(&app, &user).await.assert_problem(401, "session_revoked");
    app.login("ann", "password123").await.assert_problem(403, "account_disabled");
    patch(&app, &admin, &ann, json!({ "status": "active" })).await;
    me(&app, &user).await.assert_problem(401, "session_revoked");
    let again = app.sign_in("ann").await;
    assert_eq!(me(&app, &again).await.status, StatusCode::OK);
    let log = app.audit().await;
    for event in ["user_disabled", "user_enabled"] {
        assert_eq!(log.iter().filter(|found| *found == event).count(), 1, "{log:?}");
    }
}

#[tokio::test]
async fn a_change_of_nothing_changes_nothing() {
    let (app, admin) = app(&["ann"]).await;
    let ann = id(&app, "ann").await;
    let before = app.audit().await;
    for body in [json!({}), json!({ "status": "active", "roles": ["member"] })] {
        assert_eq!(patch(&app, &admin, &ann, body).await.status, StatusCode::OK);
    }
    assert_eq!(app.audit().await, before);
    for (body, field) in [
        (json!({ "roles": "admin" }), "/roles"),
        (json!({ "roles": ["owner"] }), "/roles"),
        (json!({ "roles": [1] }), "/roles"),
        (json!({ "status": "gone" }), "/status"),
        (json!({ "password": "password456" }), "/password"),
        (json!({ "id": ann }), "/id"),
    ] {
        let answer = patch(&app, &admin, &ann, body.clone()).await;
        answer.assert_problem(422, "validation_failed");
        assert_eq!(answer.field_errors()[0].0, field, "{body}");
    }
}

#[tokio::test]
async fn the_last_administrator_stays_one() {
    let (app, admin) = app(&["ann"]).await;
    let own = id(&app, "root1").await;
    for body in [json!({ "roles": ["member"] }), json!({ "status": "disabled" })] {
        patch(&app, &admin, &own, body).await.assert_problem(409, "last_admin");
    }
    // Who is disabled manages nothing.
    app.make_admin("ann").await;
    let ann = id(&app, "ann").await;
    patch(&app, &admin, &ann, json!({ "status": "disabled" })).await;
    patch(&app, &admin, &own, json!({ "roles": [] })).await.assert_problem(409, "last_admin");
}

#[tokio::test]
async fn administrators_who_demote_each_other_at_once_leave_one() {
    let (app, first) = app(&["second"]).await;
    app.make_admin("second").await;
    let second = app.sign_in("second").await;
    let (own, other) = (id(&app, "root1").await, id(&app, "second").await);
    for body in [json!({ "roles": [] }), json!({ "status": "disabled" })] {
        let (one, two) = tokio::join!(
            patch(&app, &first, &other, body.clone()),
            patch(&app, &second, &own, body.clone()),
        );
        let made = [&one, &two].into_iter().filter(|answer| answer.status == StatusCode::OK);
        assert_eq!(made.count(), 1, "{one:?} {two:?}");
        let left = "SELECT count(*) FROM user_roles r JOIN users u ON u.id = r.user_id
                    WHERE role = 'admin' AND status = 'active'";
        let left: i64 = sqlx::query_scalar(left).fetch_one(&app.owner).await.unwrap();
        assert_eq!(left, 1);
        sqlx::query(
            "INSERT INTO user_roles SELECT id, 'admin', NULL, now() FROM users
                     ON CONFLICT DO NOTHING",
        )
        .execute(&app.owner)
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn administrators_who_all_step_down_at_once_leave_one() {
    let (app, first) = app(&["second", "third"]).await;
    let mut all = vec![(first, id(&app, "root1").await)];
    for name in ["second", "third"] {
        app.make_admin(name).await;
        all.push((app.sign_in(name).await, id(&app, name).await));
    }
    let steps = all.iter().map(|(admin, own)| patch(&app, admin, own, json!({ "roles": [] })));
    let answers = join_all(steps).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != StatusCode::OK).collect();
    assert_eq!(refused.len(), 1, "{answers:?}");
    refused[0].assert_problem(409, "last_admin");
}

#[tokio::test]
async fn all_sessions_of_an_account_are_revoked_and_every_node_is_told() {
    let (app, admin) = app(&["ann"]).await;
    let users = [app.sign_in("ann").await, app.sign_in("ann").await];
    let ann = id(&app, "ann").await;
    let mut node = PgListener::connect(app.database_url()).await.unwrap();
    node.listen(notices::REVOKED).await.unwrap();
    let path = format!("/users/{ann}/revoke");
    let answer = app.call(Method::POST, &path, &admin.access, None).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    assert_eq!(node.recv().await.unwrap().payload(), format!("user {ann}"));
    for user in &users {
        me(&app, user).await.assert_problem(401, "session_revoked");
    }
    let own = format!("/users/{}/revoke", id(&app, "root1").await);
    assert_eq!(
        app.call(Method::POST, &own, &admin.access, None).await.status,
        StatusCode::NO_CONTENT
    );
    me(&app, &admin).await.assert_problem(401, "session_revoked");
    patch(&app, &app.sign_in("root1").await, &ann, json!({ "roles": ["moderator"] })).await;
    for _ in 0..2 {
        node.recv().await.unwrap();
    }
    let version: i64 = sqlx::query_scalar("SELECT version FROM users WHERE username = 'ann'")
        .fetch_one(&app.owner)
        .await
        .unwrap();
    assert_eq!(version, 2, "raised for the sockets");
}

#[tokio::test]
async fn an_unlock_ends_the_lock() {
    let (app, admin) = app(&["ann"]).await;
    for _ in 0..9 {
        app.clock.advance(Duration::from_secs(20));
        app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
    }
    app.login("ann", "wrong password").await.assert_problem(429, "rate_limited");
    let path = format!("/users/{}/unlock", id(&app, "ann").await);
    let answer = app.call(Method::POST, &path, &admin.access, None).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    // As long as this process believes a lock without asking.
    app.clock.advance(Duration::from_secs(5));
    assert_eq!(app.login("ann", "password123").await.status, StatusCode::OK);
    assert!(app.audit().await.contains(&"authn_login_unlock".to_owned()));
}

#[tokio::test]
async fn an_unlock_ends_the_lock_of_codes_too() {
    let (app, admin) = app(&["ann"]).await;
    let totp = TotpApp::enrol(&app, &app.sign_in("ann").await.access).await;
    app.clock.advance(Duration::from_secs(30));
    let challenge = app.challenge("ann").await;
    for _ in 0..5 {
        let wrong = app.prove(&challenge, &totp.wrong_code(app.clock.now())).await;
        wrong.assert_problem(401, "code_invalid");
    }
    let challenge = app.challenge("ann").await;
    let right = totp.code(app.clock.now());
    app.prove(&challenge, &right).await.assert_problem(429, "rate_limited");
    let path = format!("/users/{}/unlock", id(&app, "ann").await);
    let answer = app.call(Method::POST, &path, &admin.access, None).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    assert_eq!(app.prove(&challenge, &right).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_administrator_takes_lost_factors_away_and_nobody_elses() {
    let (app, admin) = app(&["ann", "bob"]).await;
    app.own("ann", "ann@example.org").await;
    for name in ["ann", "bob"] {
        TotpApp::enrol(&app, &app.sign_in(name).await.access).await;
    }
    app.mails().await;
    app.login("ann", "password123").await.assert_problem(403, "second_factor_required");
    for _ in 0..2 {
        let answer = reset_factors(&app, &admin.access, "ann").await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    }
    assert_eq!(app.login("ann", "password123").await.status, StatusCode::OK);
    app.login("bob", "password123").await.assert_problem(403, "second_factor_required");
    assert!(app.audit().await.contains(&"authn_factors_reset".to_owned()));
    let mails = app.mails().await;
    let told = &mails[1];
    assert_eq!(
        (mails.len(), told.to.as_str(), told.subject.as_str()),
        (2, "ann@example.org", "Your second factors were removed"),
        "once: the second time there were none"
    );
    let written = app.audit().await;
    let written = written.iter().filter(|event| *event == "authn_factors_reset").count();
    assert_eq!(written, 1, "what changes nothing writes no row");
}

async fn reset_factors(app: &TestApp, token: &str, name: &str) -> Answer {
    let path = format!("/users/{}/reset-factors", id(app, name).await);
    app.call(Method::POST, &path, token, None).await
}

#[tokio::test]
async fn administrators_take_factors_away_only_soon_after_a_sign_in_that_has_proven_their_own() {
    let (app, admin) = app(&["ann"]).await;
    let before = app.sign_in("root1").await.access;
    let totp = TotpApp::enrol(&app, &admin.access).await;
    let revive = "UPDATE sessions SET revoked_at = NULL";
    sqlx::query(revive).execute(&app.owner).await.unwrap();
    let ann = TotpApp::enrol(&app, &app.sign_in("ann").await.access).await;
    for name in ["root1", "ann"] {
        let refused = reset_factors(&app, &before, name).await;
        refused.assert_problem(403, "recent_sign_in_required");
    }
    app.clock.advance(Duration::from_mins(10));
    for name in ["root1", "ann"] {
        let refused = reset_factors(&app, &admin.access, name).await;
        refused.assert_problem(403, "recent_sign_in_required");
    }
    app.challenge("root1").await;
    let still = app.prove(&app.challenge("ann").await, &ann.code(app.clock.now())).await;
    assert_eq!(still.status, StatusCode::OK, "{still:?}");
    let proven = app.prove(&app.challenge("root1").await, &totp.code(app.clock.now())).await;
    let proven = proven.body["access_token"].as_str().unwrap();
    for name in ["ann", "root1"] {
        let answer = reset_factors(&app, proven, name).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
        app.sign_in(name).await;
    }
}

#[tokio::test]
async fn administrators_give_roles_only_soon_after_a_sign_in_that_has_proven_their_own() {
    let (app, admin) = app(&["ann"]).await;
    let path = format!("/users/{}", id(&app, "ann").await);
    let give = async |token: &str, roles: Value| {
        app.call(Method::PATCH, &path, token, Some(json!({ "roles": roles }))).await
    };
    app.clock.advance(Duration::from_mins(10));
    for roles in [json!(["admin"]), json!(["moderator"])] {
        give(&admin.access, roles).await.assert_problem(403, "recent_sign_in_required");
    }
    let recent = app.sign_in("root1").await.access;
    assert_eq!(give(&recent, json!(["moderator"])).await.status, StatusCode::OK);
    app.clock.advance(Duration::from_mins(10));
    // The same, and less, need none.
    for roles in [json!(["moderator"]), json!([])] {
        assert_eq!(give(&recent, roles).await.status, StatusCode::OK);
    }
}
