//! `POST /password/forgot`, `POST /password/reset`, `POST /email/verify`.

mod change;
mod forgot;
mod reset;
mod verify;

use http::StatusCode;
use serde_json::json;
use shared::mail::captured::CapturedMail;

use crate::app::{Answer, TestApp};

/// The address of every test's user.
const EMAIL: &str = "ann@example.org";

/// An app with the user `ann`, who owns [`EMAIL`].
async fn with_ann(pairs: &[(&str, &str)]) -> TestApp {
    let app = TestApp::with(pairs).await;
    app.user("ann").await;
    app.own("ann", EMAIL).await;
    app
}

/// Asks for a new password.
async fn forgot(app: &TestApp, email: &str) -> Answer {
    app.post("/password/forgot", json!({ "email": email })).await
}

/// Uses a link.
async fn reset(app: &TestApp, token: &str, password: &str) -> Answer {
    app.post("/password/reset", json!({ "token": token, "password": password })).await
}

/// Asks for a new password and takes the token out of the mail.
async fn forgotten(app: &TestApp) -> String {
    assert_eq!(forgot(app, EMAIL).await.status, StatusCode::ACCEPTED);
    token_of(app.mails().await.last().unwrap())
}

/// The token in a mail's link.
fn token_of(mail: &CapturedMail) -> String {
    let (_, rest) = mail.text.split_once("#token=").unwrap_or_else(|| panic!("{}", mail.text));
    rest.split_whitespace().next().unwrap().to_owned()
}

/// Registers with an address.
async fn register(app: &TestApp, name: &str, email: &str) -> Answer {
    let body = json!({ "username": name, "password": "password123", "email": email });
    app.post("/register", body).await
}
