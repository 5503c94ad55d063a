//! The courier and a real mail server; and `/dev/mail`.

mod pages;
pub(crate) mod server;

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;
use sqlx::Row as _;

use crate::app::TestApp;
use server::MailServer;

/// An app that sends to this address.
async fn sending(url: &str) -> TestApp {
    let own = [("SMTP_URL", url), ("MAIL_FROM", "Keywire <no-reply@example.com>")];
    TestApp::with(&own).await
}

/// Makes a user with an address and asks for a new password.
async fn forget(app: &TestApp, name: &str, email: &str) {
    app.user(name).await;
    app.own(name, email).await;
    let answer = app.post("/password/forgot", json!({ "email": email })).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

/// `(kind, attempts, outcome)` of every mail in the outbox.
async fn outbox(app: &TestApp) -> Vec<(String, i32, Option<String>)> {
    let rows = sqlx::query("SELECT kind, attempts, outcome FROM outbox ORDER BY id");
    let rows = rows.fetch_all(&app.owner).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

fn ended(kind: &str, attempts: i32, outcome: &str) -> (String, i32, Option<String>) {
    (kind.to_owned(), attempts, Some(outcome.to_owned()))
}

#[tokio::test]
async fn a_server_takes_the_mail_in_both_forms() {
    let mut server = MailServer::start().await;
    let app = sending(&format!("smtp://{}", server.address)).await;
    forget(&app, "ann", "Ann@example.org").await;
    app.courier.round().await.unwrap();
    let mail = server.next().await;
    assert_eq!(
        (mail.to, mail.from.as_str()),
        (vec!["Ann@example.org".to_owned()], "no-reply@example.com")
    );
    assert_eq!(mail.headers["subject"], "Set a new password");
    assert_eq!(mail.headers["from"], "Keywire <no-reply@example.com>");
    assert_eq!(mail.headers["auto-submitted"], "auto-generated");
    assert!(mail.headers["message-id"].ends_with("@links.example>"));
    for form in [&mail.text, &mail.html] {
        assert!(form.contains("https://links.example/account/new-password#token="), "{form}");
        assert!(form.contains("Hello ann,"), "{form}");
    }
    assert_eq!(outbox(&app).await, [ended("reset", 1, "sent")]);
}

#[tokio::test]
async fn the_courier_signs_in_as_the_address_says() {
    let mut server = MailServer::with_sign_in().await;
    let app = sending(&format!("smtp://user:p%40ss@{}", server.address)).await;
    forget(&app, "ann", "ann@example.org").await;
    app.courier.round().await.unwrap();
    assert_eq!(server.next().await.user.as_deref(), Some("user"));
    let wrong = sending(&format!("smtp://user:wrong@{}", server.address)).await;
    forget(&wrong, "ann", "ann@example.org").await;
    wrong.courier.round().await.unwrap();
    assert_eq!(outbox(&wrong).await, [("reset".to_owned(), 1, None)]);
}

#[tokio::test]
async fn a_server_without_the_tls_that_is_wanted_gets_no_mail() {
    let server = MailServer::start().await;
    for url in
        [format!("smtp://{}?tls=required", server.address), format!("smtps://{}", server.address)]
    {
        let app = sending(&url).await;
        forget(&app, "ann", "ann@example.org").await;
        app.courier.round().await.unwrap();
        assert_eq!(outbox(&app).await, [("reset".to_owned(), 1, None)], "{url}");
    }
}

#[tokio::test]
async fn mails_that_hang_or_are_refused_hold_up_no_other() {
    let mut server = MailServer::start().await;
    let url = format!("smtp://{}", server.address);
    let own = [
        ("SMTP_URL", url.as_str()),
        ("MAIL_FROM", "no-reply@example.com"),
        ("MAIL_TIMEOUT", "1s"),
        ("MAIL_BATCH", "2"),
        ("MAIL_ATTEMPTS", "2"),
    ];
    let app = TestApp::with(&own).await;
    for (name, email) in [
        ("first", "hang@example.org"),
        ("second", "refuse@example.org"),
        ("third", "later@example.org"),
        ("fourth", "ann@example.org"),
    ] {
        forget(&app, name, email).await;
        app.clock.advance(Duration::from_millis(1));
    }
    app.courier.round().await.unwrap();
    assert_eq!(server.next().await.to, ["ann@example.org"]);
    let open = |attempts| ("reset".to_owned(), attempts, None);
    assert_eq!(outbox(&app).await, [open(1), open(1), open(1), ended("reset", 1, "sent")]);
    app.courier.round().await.unwrap();
    assert_eq!(
        outbox(&app).await[..3],
        [open(1), open(1), open(1)],
        "not before the pause is over"
    );
    app.clock.advance(Duration::from_secs(5));
    app.courier.round().await.unwrap();
    assert_eq!(server.next().await.to, ["later@example.org"]);
    let gone = ended("reset", 2, "given_up");
    let sent = ended("reset", 1, "sent");
    assert_eq!(outbox(&app).await, [gone.clone(), gone, ended("reset", 2, "sent"), sent]);
}

#[tokio::test]
async fn a_mail_whose_courier_died_is_tried_again_and_not_for_ever() {
    let app = TestApp::with(&[("MAIL_ATTEMPTS", "2")]).await;
    forget(&app, "ann", "ann@example.org").await;
    // Taken and counted, and nothing written down after that.
    let died = "UPDATE outbox SET attempts = attempts + 1, next_at = next_at + interval '50 s'";
    sqlx::query(died).execute(&app.owner).await.unwrap();
    assert!(app.mails().await.is_empty(), "another may be at it");
    app.clock.advance(Duration::from_secs(50));
    assert_eq!(app.mails().await.len(), 1);
    assert_eq!(outbox(&app).await, [ended("reset", 2, "sent")]);
    let died = "UPDATE outbox SET ended_at = NULL, outcome = NULL";
    sqlx::query(died).execute(&app.owner).await.unwrap();
    app.clock.advance(Duration::from_mins(1));
    assert_eq!(app.mails().await.len(), 1, "no third try");
    assert_eq!(outbox(&app).await, [ended("reset", 3, "given_up")]);
}

#[tokio::test]
async fn many_couriers_send_each_mail_once() {
    let app = TestApp::with(&[("MAIL_BATCH", "1"), ("LIMIT_RECOVERY_ADDRESS", "off")]).await;
    for n in 0..12 {
        forget(&app, &format!("user{n}"), &format!("user{n}@example.org")).await;
    }
    let rounds = join_all((0..4).map(|_| app.courier.round())).await;
    assert!(rounds.iter().all(Result::is_ok), "{rounds:?}");
    let mut to: Vec<_> = app.captured.all().into_iter().map(|mail| mail.to).collect();
    to.sort();
    to.dedup();
    assert_eq!((to.len(), app.captured.all().len()), (12, 12));
}

#[tokio::test]
async fn a_mail_of_a_newer_release_is_left_to_its_courier() {
    let app = TestApp::start().await;
    forget(&app, "ann", "ann@example.org").await;
    sqlx::query("UPDATE outbox SET kind = 'newer'").execute(&app.owner).await.unwrap();
    assert!(app.mails().await.is_empty());
    assert_eq!(outbox(&app).await, [("newer".to_owned(), 1, None)]);
}

#[tokio::test]
async fn a_link_that_no_longer_works_is_not_sent() {
    let app = TestApp::start().await;
    forget(&app, "ann", "ann@example.org").await;
    app.clock.advance(Duration::from_mins(15));
    assert!(app.mails().await.is_empty());
    assert_eq!(outbox(&app).await, [ended("reset", 1, "obsolete")]);
}

#[tokio::test]
async fn a_link_is_not_sent_to_an_address_that_the_account_no_longer_has() {
    let app = TestApp::start().await;
    forget(&app, "ann", "ann@example.org").await;
    app.own("ann", "new@example.org").await;
    assert!(app.mails().await.is_empty());
    assert_eq!(outbox(&app).await, [ended("reset", 1, "obsolete")]);
}

#[tokio::test]
async fn the_outbox_holds_neither_text_nor_token_nor_address() {
    let app = TestApp::start().await;
    forget(&app, "ann", "ann@example.org").await;
    let text = app.mails().await.remove(0).text;
    let token = text.split("#token=").nth(1).unwrap().split_whitespace().next().unwrap();
    let tables = "SELECT string_agg(o::text, ' ') || (SELECT string_agg(t::text, ' ') FROM one_time_tokens t)
                  FROM outbox o";
    let rows: String = sqlx::query_scalar(tables).fetch_one(&app.owner).await.unwrap();
    assert!(!rows.contains(token) && !rows.contains("Hello"), "{rows}");
    let outbox: String =
        sqlx::query_scalar("SELECT o::text FROM outbox o").fetch_one(&app.owner).await.unwrap();
    assert!(!outbox.contains('@'), "{outbox}");
}
