//! The courier under Lambda's emulator, with a real mail server.

use serde_json::{Value, json};

use super::events::with_body;
use super::stack::Stack;
use crate::mail::server::MailServer;

/// The answer's status to a POST with this body.
async fn post(stack: &Stack, binary: &str, path: &str, body: &Value) -> u16 {
    let function = stack.start(binary).await;
    let mut event = with_body("register", &body.to_string());
    event["rawPath"] = path.into();
    event["requestContext"]["http"]["path"] = path.into();
    function.request(&event).await.status
}

#[tokio::test]
async fn an_invocation_sends_what_is_due_with_links_that_work() {
    let stack = Stack::new().await;
    let mut server = MailServer::start().await;
    let body = json!({ "username": "ann", "password": "password123", "email": "ann@example.org" });
    assert_eq!(post(&stack, "register", "/register", &body).await, 201);
    let url = format!("smtp://{}", server.address);
    let settings = [
        ("SMTP_URL", url.as_str()),
        ("MAIL_FROM", "no-reply@example.com"),
        ("PUBLIC_URL", "https://app.example.com"),
        ("COURIER_RUN", "1s"),
    ];
    let courier = stack.start_with("courier", &settings).await;
    assert_eq!(courier.invoke(&json!({ "source": "aws.events" })).await, Value::Null);
    let text = server.next().await.text;
    let (_, token) =
        text.split_once("https://app.example.com/account/verify-email#token=").unwrap();
    let token = token.split_whitespace().next().unwrap();
    assert_eq!(post(&stack, "recovery", "/email/verify", &json!({ "token": token })).await, 204);
    let forgot = json!({ "email": "ann@example.org" });
    assert_eq!(post(&stack, "recovery", "/password/forgot", &forgot).await, 202);
    assert_eq!(courier.invoke(&json!({})).await, Value::Null, "the same sandbox works again");
    let mail = server.next().await;
    assert_eq!(mail.headers["subject"], "Set a new password");
    assert!(!courier.log().contains("ann@example.org"), "{}", courier.log());
}
