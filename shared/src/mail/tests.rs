use std::time::Duration;

use secrecy::SecretString;
use time::OffsetDateTime;
use uuid::Uuid;

use super::*;

fn mailer(transport: Transport) -> Mailer {
    let from = Sender::parse("Keywire <no-reply@example.com>").unwrap();
    Mailer::new(from, "app.example.com", Duration::from_secs(1), transport)
}

#[test]
fn a_message_has_both_forms_and_says_that_no_person_wrote_it() {
    let link = SecretString::from("https://app.example.com/account/verify-email#token=abc");
    let letter = Letter::verify("ann", link, Duration::from_hours(24));
    let at = OffsetDateTime::UNIX_EPOCH;
    let mail = Mail { id: Uuid::nil(), to: "ann@example.org", letter: &letter, at };
    let message = mailer(Transport::Captured(Captured::default())).message(mail).unwrap();
    let text = String::from_utf8(message.formatted()).unwrap();
    for line in [
        "From: Keywire <no-reply@example.com>\r\n",
        "To: ann@example.org\r\n",
        "Subject: Confirm your address\r\n",
        "Message-ID: <00000000-0000-0000-0000-000000000000@app.example.com>\r\n",
        "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "Content-Type: multipart/alternative;",
        "Content-Type: text/plain; charset=utf-8\r\n",
        "Content-Type: text/html; charset=utf-8\r\n",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
}

#[tokio::test]
async fn the_last_hundred_captured_mails_are_kept() {
    let captured = Captured::default();
    let mailer = mailer(Transport::Captured(captured.clone()));
    let letter = Letter::password_changed("ann");
    for number in 1..=103 {
        let (id, to) = (Uuid::nil(), format!("user{number}@example.com"));
        let mail = Mail { id, to: &to, letter: &letter, at: OffsetDateTime::UNIX_EPOCH };
        mailer.send(mail).await.unwrap();
    }
    let all = captured.all();
    assert_eq!((all.len(), all[0].number, all[99].number), (100, 4, 103));
    assert_eq!(captured.find(103).unwrap().to, "user103@example.com");
    assert!(captured.find(3).is_none());
    assert!(!format!("{captured:?} {:?}", all[0]).contains("user"));
}
