//! `POST /register`.

use http::StatusCode;
use serde_json::json;

use crate::app::{TestApp, credentials};

#[tokio::test]
async fn no_account_exists_after_migration() {
    let app = TestApp::start().await;
    let count = "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM user_roles)";
    let accounts: i64 = sqlx::query_scalar(count).fetch_one(&app.owner).await.unwrap();
    assert_eq!(accounts, 0);
}

#[tokio::test]
async fn the_documented_example_registers() {
    let app = TestApp::start().await;
    let body: serde_json::Value =
        serde_json::from_str(include_str!("../../../shared/contracts/register.json")).unwrap();
    let answer = app.post("/register", body["request"].clone()).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let user = &answer.body["user"];
    assert_eq!(user["username"], "example");
    assert_eq!(user["roles"], json!(["member"]));
    assert!(user["id"].is_string() && user["created_at"].is_string());
    let shape = |value: &serde_json::Value| -> Vec<String> {
        value["user"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(shape(&answer.body), shape(&body["response"]));
    assert_eq!(app.audit().await, ["user_created"]);
    let again = app.login("example", "password123").await;
    assert_eq!(&again.body["user"], user, "the same user, to the microsecond");
}

#[tokio::test]
async fn a_password_is_stored_as_peppered_bcrypt() {
    let app = TestApp::with(&[("BCRYPT_COST", "5")]).await;
    app.user("ann").await;
    let (scheme, pepper, hash): (String, String, String) =
        sqlx::query_as("SELECT scheme, pepper_id, hash FROM passwords")
            .fetch_one(&app.owner)
            .await
            .unwrap();
    assert_eq!((scheme.as_str(), &pepper), ("peppered", &app.keys.pepper.current));
    assert!(hash.starts_with("$2b$05$") && !hash.contains("password123"), "{hash}");
}

#[tokio::test]
async fn a_taken_name_is_a_conflict_without_regard_to_case() {
    let app = TestApp::start().await;
    app.user("Ann").await;
    for name in ["Ann", "ann", "ANN"] {
        let answer = app.post("/register", credentials(name, "another password")).await;
        answer.assert_problem(409, "username_taken");
        assert_eq!(answer.field_errors(), [("/username".to_owned(), "taken".to_owned())]);
    }
    assert_eq!(app.login("ann", "password123").await.status, StatusCode::OK);
}

#[tokio::test]
async fn one_of_many_who_want_a_name_gets_it() {
    let app = TestApp::start().await;
    let wish = || app.post("/register", credentials("ann", "password123"));
    let answers = futures_util::future::join_all(std::iter::repeat_with(wish).take(8)).await;
    let made = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
    assert_eq!(made, 1);
    for answer in answers.iter().filter(|answer| answer.status != StatusCode::CREATED) {
        answer.assert_problem(409, "username_taken");
    }
    assert_eq!(app.audit().await, ["user_created"]);
}

#[tokio::test]
async fn every_wrong_field_is_told_at_once() {
    let app = TestApp::start().await;
    for (body, expected) in [
        (json!({}), vec![("/username", "required"), ("/password", "required")]),
        (credentials("x", "short"), vec![("/username", "too_short"), ("/password", "too_short")]),
        (credentials("\u{430}dmin", "password123"), vec![("/username", "invalid_characters")]),
        (credentials("root", "password123"), vec![("/username", "reserved")]),
        (credentials("ann", &"x".repeat(1_025)), vec![("/password", "too_long")]),
        (
            json!({"username": 1, "password": null}),
            vec![("/username", "wrong_type"), ("/password", "wrong_type")],
        ),
        (
            json!({"username": "ann", "password": "password123", "role": "admin"}),
            vec![("/role", "unknown_field")],
        ),
        (
            json!({"username": "ann", "password": "password123", "a/b~c": 1}),
            vec![("/a~1b~0c", "unknown_field")],
        ),
        (json!([]), vec![("", "wrong_type")]),
    ] {
        let answer = app.post("/register", body.clone()).await;
        answer.assert_problem(422, "validation_failed");
        let expected: Vec<_> =
            expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(answer.field_errors(), expected, "{body}");
    }
    assert_eq!(app.passwords.rounds(), 0, "refused before any hashing");
    assert!(app.audit().await.is_empty());
}

#[tokio::test]
async fn long_and_odd_passwords_round_trip() {
    let app = TestApp::start().await;
    let odd = ["\u{1f511}".repeat(64), "x".repeat(1_000), "  NUL \0 and spaces ".to_owned()];
    for (n, password) in odd.iter().enumerate() {
        let name = format!("user{n}");
        let answer = app.post("/register", credentials(&name, password)).await;
        assert_eq!(answer.status, StatusCode::CREATED);
        assert_eq!(app.login(&name, password).await.status, StatusCode::OK, "{password:?}");
        let trimmed = app.login(&name, password.trim_end_matches([' ', 'x'])).await;
        assert_eq!(trimmed.status == StatusCode::OK, password.starts_with('\u{1f511}'));
    }
}

#[tokio::test]
async fn the_strict_policy_refuses_common_passwords_and_names() {
    let app = TestApp::with(&[("PASSWORD_POLICY", "strict")]).await;
    for (password, code) in [("password123", "too_common"), ("marguerite1", "too_similar")] {
        let answer = app.post("/register", credentials("marguerite", password)).await;
        answer.assert_problem(422, "validation_failed");
        assert_eq!(answer.field_errors(), [("/password".to_owned(), code.to_owned())]);
    }
    let good = credentials("marguerite", "correct horse battery");
    assert_eq!(app.post("/register", good).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn closed_registration_makes_no_accounts() {
    let app = TestApp::with(&[("REGISTRATION", "closed")]).await;
    let answer = app.post("/register", credentials("ann", "password123")).await;
    answer.assert_problem(403, "registration_closed");
    assert!(app.audit().await.is_empty());
}

#[tokio::test]
async fn registrations_from_one_network_are_limited() {
    let app = TestApp::with(&[("LIMIT_REGISTER_ADDRESS", "2/h burst 2")]).await;
    app.user("ann").await;
    app.user("bob").await;
    let answer = app.post("/register", credentials("cid", "password123")).await;
    answer.assert_problem(429, "rate_limited");
    let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=1_800).contains(&wait), "{wait}");
    assert_eq!(answer.headers["ratelimit-policy"], "\"register\";q=2;w=3600");
    let elsewhere =
        app.post_from([127, 0, 0, 2], "/register", credentials("cid", "password123")).await;
    assert_eq!(elsewhere.status, StatusCode::CREATED);
    app.clock.advance(std::time::Duration::from_secs(wait));
    let later = app.post("/register", credentials("dan", "password123")).await;
    assert_eq!(later.status, StatusCode::CREATED);
}
