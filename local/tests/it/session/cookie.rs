//! The refresh token as a cookie, for pages.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::json;

use super::{log_out, me};
use crate::app::{Answer, TestApp};
use crate::authenticator::Authenticator;
use crate::enrolled::{ORIGIN, PARTY, PUBLIC_URL, Passkey, TotpApp};

/// A page of somebody else's.
const EVIL: &str = "https://evil.example";

/// Signs in under a prefix, the token to come as a cookie.
async fn sign_in(app: &TestApp, prefix: &str) -> Answer {
    let body = json!({ "username": "ann", "password": "password123", "refresh": "cookie" });
    app.post(&format!("{prefix}/login"), body).await
}

/// The `Set-Cookie` header: the pair, and the attributes.
fn set(answer: &Answer) -> (String, Vec<String>) {
    let header = answer.headers["set-cookie"].to_str().unwrap();
    let mut parts = header.split("; ").map(str::to_owned);
    (parts.next().unwrap(), parts.collect())
}

/// Refreshes by the cookie, with further headers.
async fn refresh(app: &TestApp, pair: &str, headers: &[(&str, &str)]) -> Answer {
    let request = Request::post("/token/refresh").header("cookie", pair);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    app.send(request.body(Bytes::new()).unwrap()).await
}

async fn app(settings: &[(&str, &str)]) -> TestApp {
    let app = TestApp::with(settings).await;
    app.user("ann").await;
    app
}

#[tokio::test]
async fn the_cookie_is_for_no_script_no_other_site_and_one_path() {
    let app = app(&[]).await;
    let answer = sign_in(&app, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(answer.body["refresh_token"].is_null() && answer.body["access_token"].is_string());
    let (pair, attributes) = set(&answer);
    assert!(pair.starts_with("keywire_refresh="), "{pair}");
    let expected = ["Path=/token/refresh", "Max-Age=604800", "HttpOnly", "SameSite=Strict"];
    assert_eq!(attributes, expected);
    let (_, attributes) = set(&sign_in(&app, "/api").await);
    assert_eq!(attributes[0], "Path=/api/token/refresh");
    let public = app.another(&[("PUBLIC_URL", "https://app.example.com")]).await;
    let (_, attributes) = set(&sign_in(&public, "").await);
    assert_eq!(attributes.last().unwrap(), "Secure");
}

#[tokio::test]
async fn a_code_and_a_passkey_set_the_same_cookie_and_no_foreign_page_gets_one() {
    let app = app(&[PUBLIC_URL]).await;
    let token = app.sign_in("ann").await.access;
    let mut passkey = Passkey::enrol(&app, &token, Authenticator::es256(ORIGIN, PARTY)).await;
    let totp = TotpApp::enrol(&app, &token).await;
    for (path, origin) in
        [("second-factor", ""), ("passkey", ""), ("second-factor", EVIL), ("passkey", EVIL)]
    {
        app.clock.advance(Duration::from_secs(30));
        let mut body = if path == "passkey" {
            json!({ "credential": passkey.assertion(&app.passkey_challenge().await) })
        } else {
            let code = totp.code(app.clock.now());
            json!({ "challenge": app.challenge("ann").await, "code": code })
        };
        body["refresh"] = "cookie".into();
        let request = Request::post(format!("/api/login/{path}"));
        let mut request = request.header("content-type", "application/json");
        if !origin.is_empty() {
            request = request.header("origin", origin);
        }
        let answer = app.send(request.body(body.to_string().into()).unwrap()).await;
        if origin.is_empty() {
            assert_cookie(&app, &answer).await;
        } else {
            answer.assert_problem(403, "origin_refused");
            assert!(answer.headers.get("set-cookie").is_none(), "{answer:?}");
        }
    }
}

/// Asserts that the refresh token is a cookie for pages of this site, and nowhere else, and refreshes.
async fn assert_cookie(app: &TestApp, answer: &Answer) {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(answer.body["refresh_token"].is_null() && answer.body["access_token"].is_string());
    let (pair, attributes) = set(answer);
    let expected =
        ["Path=/api/token/refresh", "Max-Age=604800", "HttpOnly", "SameSite=Strict", "Secure"];
    assert_eq!(attributes, expected);
    assert_eq!(refresh(app, &pair, &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_cookie_refreshes_and_is_replaced() {
    let app = app(&[]).await;
    let (pair, _) = set(&sign_in(&app, "").await);
    let answer = refresh(&app, &pair, &[]).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(answer.body["refresh_token"].is_null(), "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let (next, _) = set(&answer);
    assert_ne!(next, pair);
    let access = answer.body["access_token"].as_str().unwrap();
    assert_eq!(me(&app, access).await.status, StatusCode::OK);
    assert_eq!(refresh(&app, &format!("a=b; {next}"), &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_page_of_a_foreign_origin_is_refused() {
    let app = app(&[("ALLOWED_ORIGINS", "https://app.example.com")]).await;
    let (pair, _) = set(&sign_in(&app, "").await);
    for foreign in ["https://evil.example", "null", "http://app.example.com"] {
        let answer = refresh(&app, &pair, &[("origin", foreign)]).await;
        answer.assert_problem(403, "origin_refused");
        assert!(answer.headers.get("set-cookie").is_none());
    }
    refresh(&app, &pair, &[("sec-fetch-site", "cross-site")])
        .await
        .assert_problem(403, "origin_refused");
    let own = refresh(&app, &pair, &[("origin", "https://app.example.com")]).await;
    assert_eq!(own.status, StatusCode::OK, "{own:?}");
    let body = json!({ "username": "ann", "password": "password123", "refresh": "cookie" });
    let login = Request::post("/login")
        .header("content-type", "application/json")
        .header("origin", "https://evil.example");
    let login = app.send(login.body(body.to_string().into()).unwrap()).await;
    login.assert_problem(403, "origin_refused");
}

#[tokio::test]
async fn the_cookie_is_taken_away_by_logout_and_when_it_is_worth_nothing() {
    let app = app(&[("LIMIT_REFRESH_ADDRESS", "1/h burst 4")]).await;
    let signed_in = sign_in(&app, "").await;
    let (pair, _) = set(&signed_in);
    let access = signed_in.body["access_token"].as_str().unwrap();
    let cleared = |answer: &Answer| {
        let (pair, attributes) = set(answer);
        assert_eq!((pair.as_str(), attributes[1].as_str()), ("keywire_refresh=", "Max-Age=0"));
    };
    refresh(&app, "a=b", &[]).await.assert_problem(401, "refresh_token_invalid");
    let forged = refresh(&app, "keywire_refresh=forged", &[]).await;
    forged.assert_problem(401, "refresh_token_invalid");
    cleared(&forged);
    let others = log_out(&app, access, "others").await;
    assert!(others.headers.get("set-cookie").is_none(), "{others:?}");
    let out = log_out(&app, access, "local").await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    cleared(&out);
    for _ in 0..4 {
        let ended = refresh(&app, &pair, &[]).await;
        ended.assert_problem(401, "session_revoked");
        cleared(&ended);
    }
    let limited = refresh(&app, &pair, &[]).await;
    limited.assert_problem(429, "rate_limited");
    assert!(limited.headers.get("set-cookie").is_none(), "a limit ends no session");
}
