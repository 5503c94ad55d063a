//! `GET /me/export`.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use shared::db::rooms::{self, NewRoom};

use crate::app::{Answer, TestApp};
use crate::authenticator::Authenticator;
use crate::enrolled::{ORIGIN, PARTY, PUBLIC_URL, Passkey, TotpApp};

async fn export(app: &TestApp, token: &str) -> Answer {
    app.call(Method::GET, "/me/export", token, None).await
}

#[tokio::test]
async fn an_export_holds_everything_about_oneself_no_secret_and_nobody_else() {
    let app = TestApp::with(&[PUBLIC_URL]).await;
    app.user("ann").await;
    app.user("bob").await;
    app.make_admin("bob").await;
    let [first, _] = [app.sign_in("ann").await, app.sign_in("ann").await];
    let bob = app.sign_in("bob").await;
    let id = app.call(Method::GET, "/me", &first.access, None).await.body["user"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    app.call(Method::POST, &format!("/users/{id}/unlock"), &bob.access, None).await;
    TotpApp::enrol(&app, &first.access).await;
    Passkey::enrol(&app, &first.access, Authenticator::es256(ORIGIN, PARTY)).await;
    app.login("ann", "wrong password").await.assert_problem(401, "invalid_credentials");
    app.call(Method::PATCH, "/me", &first.access, Some(json!({ "bio": "hello" }))).await;
    in_rooms(&app, &id).await;
    let answer = export(&app, &first.access).await;
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
    assert_eq!([count("rooms"), count("invitations"), count("messages")], [1, 1, 1]);
    assert_eq!(all["rooms"][0]["room"], "lobby");
    assert_eq!(all["messages"][0]["kind"], "joined");
    let text = all.to_string();
    for secret in ["salt", "sealed", "$2b$", "bob"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    // Whatever a later table holds about a user has to be added.
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT table_name::text
         FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
         WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND column_name = 'user_id'
         ORDER BY 1",
    )
    .fetch_all(&app.owner)
    .await
    .unwrap();
    // But for challenges, which are gone in minutes.
    let exported = [
        "messages",
        "one_time_tokens",
        "outbox",
        "passkeys",
        "passwords",
        "recovery_codes",
        "room_invitations",
        "room_members",
        "sessions",
        "totp",
        "user_roles",
    ];
    let kept = tables.iter().filter(|table| *table != "challenges");
    assert!(kept.eq(exported.iter()), "add it to the export: {tables:?}");
}

/// Makes a room of the user's, and one of nobody's that she is invited to.
pub(crate) async fn in_rooms(app: &TestApp, id: &str) {
    let new = |name| NewRoom { name, title: "", durable: true, public: true };
    let id = id.parse().unwrap();
    rooms::create(&app.owner, new("lobby"), id, None, app.clock.now()).await.unwrap();
    let invite = "WITH room AS (INSERT INTO rooms (name, title, durable, public, created_at)
                                VALUES ('garden', '', false, false, now()) RETURNING id)
                  INSERT INTO room_invitations (room, user_id, created_at) SELECT id, $1, now() FROM room";
    sqlx::query(invite).bind(id).execute(&app.owner).await.unwrap();
}

#[tokio::test]
async fn an_account_exports_so_often_and_a_session_that_ended_takes_nothing_from_that() {
    let app = TestApp::start().await;
    for name in ["ann", "bob"] {
        app.user(name).await;
    }
    let [gone, here] = [app.sign_in("ann").await, app.sign_in("ann").await];
    app.call(Method::POST, "/logout", &gone.access, None).await;
    for _ in 0..5 {
        export(&app, &gone.access).await.assert_problem(401, "session_revoked");
    }
    for _ in 0..3 {
        assert_eq!(export(&app, &here.access).await.status, StatusCode::OK);
    }
    let refused = export(&app, &app.sign_in("ann").await.access).await;
    refused.assert_problem(429, "rate_limited");
    assert_eq!(refused.headers["ratelimit-policy"], "\"export\";q=10;w=3600");
    assert_eq!(export(&app, &app.sign_in("bob").await.access).await.status, StatusCode::OK);
    app.clock.advance(Duration::from_mins(6));
    assert_eq!(export(&app, &here.access).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_export_is_no_larger_than_a_function_may_send() {
    let app = TestApp::with(&[("DATABASE_TIMEOUT", "60s")]).await;
    app.user("ann").await;
    let ann = app.sign_in("ann").await;
    // As much as there can be in each row, and more rows than are given.
    for fill in [
        "INSERT INTO audit (at, event, actor, subject, session, address, user_agent, request_id, detail)
         SELECT now(), 'privilege_permissions_changed', id, id, gen_random_uuid(),
                '2001:db8:1111:2222:3333:4444:5555:6666', repeat(U&'\\+01F469', 256),
                gen_random_uuid()::text, '{\"from\": [\"admin\"], \"to\": [\"member\", \"moderator\"]}'
         FROM users, generate_series(1, 6000)",
        "INSERT INTO sessions (id, user_id, salt, rotated_at, created_at, last_seen_at, idle_until,
                               absolute_until, address, user_agent, revoked_at, revoked_reason)
         SELECT gen_random_uuid(), id, '', now(), now() - n * interval '1 s', now(), now(), now(),
                '2001:db8:1111:2222:3333:4444:5555:6666', repeat(U&'\\+01F469', 256), now(),
                'password_changed'
         FROM users, generate_series(1, 2000) n",
        "INSERT INTO one_time_tokens (id, kind, user_id, target, created_at, expires_at, used_at)
         SELECT gen_random_uuid(), 'verify', id, repeat('x', 254), now(), now(), now()
         FROM users, generate_series(1, 2000)",
        "INSERT INTO outbox (id, kind, user_id, created_at, next_at)
         SELECT gen_random_uuid(), 'password_changed', id, now(), now()
         FROM users, generate_series(1, 2000)",
        "INSERT INTO rooms (name, title, durable, public, created_at)
         SELECT rpad(n::text, 64, 'x'), '', true, true, now() FROM generate_series(1, 1000) n",
        "INSERT INTO room_members (room, user_id, role, muted_until, joined_at)
         SELECT r.id, u.id, 'moderator', now(), now() FROM users u, rooms r",
        "INSERT INTO room_invitations (room, user_id, created_at)
         SELECT r.id, u.id, now() FROM users u, rooms r",
        "INSERT INTO messages (room, seq, kind, user_id, key, of_seq, body, digest, at)
         SELECT r.id, 1000000000 + r.id, 'edited', u.id, gen_random_uuid(), 1000000000,
                to_json(repeat('\"', 200)), sha256(''), now() FROM users u, rooms r",
    ] {
        sqlx::query(fill).execute(&app.owner).await.unwrap();
    }
    let fill = "INSERT INTO failures (subject, network, count, last_at)
                SELECT $1, decode(lpad(to_hex(n), 16, '0'), 'hex'), 1, now()
                FROM generate_series(1, 2000) n";
    let subject = app.passwords.identifier_mac("ann");
    sqlx::query(fill).bind(subject).execute(&app.owner).await.unwrap();
    let answer = export(&app, &ann.access).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body["code"]);
    let count = |name: &str| answer.body[name].as_array().unwrap().len();
    let counts = ["audit", "sessions", "links", "mails", "sign_ins"].map(count);
    assert_eq!(counts, [2_500, 500, 500, 500, 500]);
    assert_eq!(["rooms", "invitations"].map(count), [500, 500]);
    assert_eq!(count("messages"), (150 << 10) / 402, "as many texts as fit");
    // As a string in the function's answer, which escapes each quote.
    let body = serde_json::to_string(&answer.body.to_string()).unwrap();
    assert!(body.len() < 6_000_000, "{} bytes", body.len());
}
