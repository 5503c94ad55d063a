//! `/dev/mail`.

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::json;

use crate::app::TestApp;

/// An app with a mail.
async fn with_mail() -> TestApp {
    let app = TestApp::with(&[("HOST_CHECK", "off")]).await;
    let body = json!({ "username": "ann", "password": "password123", "email": "ann@example.org" });
    assert_eq!(app.post("/register", body).await.status, StatusCode::CREATED);
    assert_eq!(app.mails().await.len(), 1);
    app
}

#[tokio::test]
async fn the_developer_sees_every_mail_with_its_link() {
    let app = with_mail().await;
    for (path, expected) in [
        ("/dev/mail", "Confirm your address"),
        ("/dev/mail/1", "href='https://links.example/account/verify-email#token="),
        ("/dev/mail/1/html", "<a href=\"https://links.example/account/verify-email#token="),
    ] {
        let answer = app.text(path).await;
        assert_eq!(answer.0, StatusCode::OK, "{path}");
        assert!(answer.1.contains(expected), "{path}: {}", answer.1);
    }
    for path in ["/dev/mail/2", "/dev/mail/x"] {
        app.get(path).await.assert_problem(404, "not_found");
    }
}

#[tokio::test]
async fn nobody_else_sees_a_mail() {
    let app = with_mail().await;
    for (name, value) in [
        ("host", "app.example.com"),
        ("host", "rebound.example:8080"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("via", "1.1 proxy"),
        ("x-real-ip", "127.0.0.1"),
        ("cloudfront-viewer-address", "127.0.0.1:1"),
    ] {
        for path in ["/dev/mail", "/dev/mail/1", "/dev/mail/1/html"] {
            let request = Request::get(path).header(name, value).body(Bytes::new()).unwrap();
            app.send(request).await.assert_problem(404, "not_found");
        }
    }
}
