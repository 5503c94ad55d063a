//! Bodies as they are sent and answered, against the fixtures in `shared/contracts`.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::app::{Answer, TestApp};
use crate::authenticator::Authenticator;
use crate::docs;
use crate::enrolled::{ORIGIN, PARTY, PUBLIC_URL, Passkey, TotpApp, challenge_of, credential};
use crate::profile::export::in_rooms;

/// Whether two values have the same members of the same types; null stands for any value.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Null, _) | (_, Value::Null) => true,
        (Value::Object(one), Value::Object(other)) => {
            one.keys().eq(other.keys())
                && one.iter().all(|(name, value)| alike(value, &other[name]))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.iter().all(|one| other.iter().all(|other| alike(one, other)))
        }
        _ => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}

/// A service that is called as the fixtures say.
struct Contracts {
    app: TestApp,
    /// The fixtures that were held.
    held: BTreeSet<String>,
}

impl Contracts {
    /// Sends a fixture's request, with other values for what only this service can know, and holds the
    /// answer against the fixture.
    async fn hold(&mut self, name: &str, route: &str, token: Option<&str>, own: Value) -> Answer {
        let fixture = fixture(name);
        let mut body = fixture.get("request").cloned();
        for (member, value) in own.as_object().unwrap() {
            let body = body.as_mut().unwrap();
            assert!(alike(&body[member], value), "{name}: {member} is {}", body[member]);
            body[member] = value.clone();
        }
        let (method, path) = route.split_once(' ').unwrap();
        let method: Method = method.parse().unwrap();
        let answer = match token {
            Some(token) => self.app.call(method, path, token, body).await,
            None if method == Method::GET => self.app.get(path).await,
            None => self.app.post(path, body.unwrap()).await,
        };
        assert_eq!(answer.status.as_u16(), fixture["status"], "{name}: {answer:?}");
        let expected = &fixture["response"];
        assert_eq!(answer.body.is_null(), expected.is_null(), "{name}: {answer:?}");
        assert!(alike(&answer.body, expected), "{name}:\n{}\n{expected}", answer.body);
        self.held.insert(name.to_owned());
        answer
    }
}

fn fixture(name: &str) -> Value {
    serde_json::from_str(&docs::read(format!("shared/contracts/{name}.json"))).unwrap()
}

fn text(answer: &Answer, member: &str) -> String {
    answer.body[member].as_str().unwrap().to_owned()
}

/// The token in the newest mail's link.
async fn mailed(app: &TestApp) -> Value {
    let mail = app.mails().await.pop().unwrap();
    let (_, rest) = mail.text.split_once("#token=").unwrap();
    rest.split_whitespace().next().unwrap().into()
}

/// Registering, signing in, one's own account and its address.
async fn hold_accounts(contracts: &mut Contracts) -> String {
    let none = || json!({});
    contracts.hold("problem", "POST /register", None, none()).await;
    contracts.hold("register", "POST /register", None, none()).await;
    let signed_in = contracts.hold("login", "POST /login", None, none()).await;
    let own = json!({ "refresh_token": signed_in.body["refresh_token"] });
    let refreshed = contracts.hold("refresh_tokens", "POST /token/refresh", None, own).await;
    let token = text(&refreshed, "access_token");
    contracts.hold("update_me", "PATCH /me", Some(&token), none()).await;
    contracts.hold("change_email", "POST /me/email", Some(&token), none()).await;
    let own = json!({ "token": mailed(&contracts.app).await });
    contracts.hold("verify_email", "POST /email/verify", None, own).await;
    contracts.hold("show_me", "GET /me", Some(&token), none()).await;
    contracts.hold("list_sessions", "GET /me/sessions", Some(&token), none()).await;
    token
}

/// Second factors and passkeys.
async fn hold_factors(contracts: &mut Contracts, token: &str) {
    let (token, none) = (Some(token), || json!({}));
    let begun = contracts.hold("begin_totp", "POST /me/factors/totp", token, none()).await;
    let totp = TotpApp::read(&begun);
    let own = json!({ "code": totp.code(contracts.app.clock.now()) });
    contracts.hold("confirm_totp", "POST /me/factors/totp/confirm", token, own).await;
    let route = "POST /me/factors/recovery-codes";
    contracts.hold("renew_recovery_codes", route, token, none()).await;
    let route = "POST /me/factors/passkey/options";
    let options = contracts.hold("begin_passkey", route, token, none()).await;
    let authenticator = Authenticator::es256(ORIGIN, PARTY);
    let own = json!({ "credential": credential(&authenticator, &challenge_of(&options)) });
    contracts.hold("add_passkey", "POST /me/factors/passkey", token, own).await;
    contracts.hold("list_factors", "GET /me/factors", token, none()).await;
    contracts.app.clock.advance(Duration::from_secs(30));
    let challenge = contracts.app.challenge("example").await;
    let code = totp.code(contracts.app.clock.now());
    let own = json!({ "challenge": challenge, "code": code });
    contracts.hold("prove_second_factor", "POST /login/second-factor", None, own).await;
    let route = "POST /login/passkey/options";
    let options = contracts.hold("begin_passkey_login", route, None, none()).await;
    let user = uuid::Uuid::parse_str(&account(&contracts.app).await).unwrap();
    let (user, id) = (user.as_bytes().to_vec(), String::new());
    let mut passkey = Passkey { authenticator, user, id };
    let own = json!({ "credential": passkey.assertion(&challenge_of(&options)) });
    contracts.hold("passkey_login", "POST /login/passkey", None, own).await;
}

async fn account(app: &TestApp) -> String {
    let id = sqlx::query_scalar("SELECT id::text FROM users WHERE username = 'example'");
    id.fetch_one(&app.owner).await.unwrap()
}

/// What an administrator sees and does.
async fn hold_management(contracts: &mut Contracts, token: &str) {
    let (token, none) = (Some(token), || json!({}));
    contracts.app.make_admin("example").await;
    contracts.app.user("other").await;
    let id = sqlx::query_scalar("SELECT id::text FROM users WHERE username = 'other'");
    let id: String = id.fetch_one(&contracts.app.owner).await.unwrap();
    contracts.hold("list_users", "GET /users", token, none()).await;
    contracts.hold("change_user", &format!("PATCH /users/{id}"), token, none()).await;
    contracts.hold("show_user", &format!("GET /users/{id}"), token, none()).await;
    contracts.hold("list_audit", "GET /audit?event=authn_login_success", token, none()).await;
    contracts.app.make_admin("other").await;
}

/// What changes a password, and what ends an account.
async fn hold_ends(contracts: &mut Contracts, token: &str) {
    let none = || json!({});
    in_rooms(&contracts.app, &account(&contracts.app).await).await;
    contracts.hold("export_me", "GET /me/export", Some(token), none()).await;
    contracts.hold("change_password", "POST /me/password", Some(token), none()).await;
    // Else the notice of that would be sent beside the link.
    contracts.app.mails().await;
    contracts.hold("forgot_password", "POST /password/forgot", None, none()).await;
    let own = json!({ "token": mailed(&contracts.app).await });
    contracts.hold("reset_password", "POST /password/reset", None, own).await;
    contracts.app.user("third").await;
    let third = contracts.app.sign_in("third").await.access;
    contracts.hold("log_out", "POST /logout", Some(&third), none()).await;
    let third = contracts.app.sign_in("third").await.access;
    contracts.hold("delete_me", "DELETE /me", Some(&third), none()).await;
    contracts.hold("jwks", "GET /.well-known/jwks.json", None, none()).await;
    contracts.hold("health", "GET /health", None, none()).await;
}

#[tokio::test]
async fn every_fixture_is_what_is_sent_and_answered() {
    let app = TestApp::with(&[PUBLIC_URL]).await;
    let mut contracts = Contracts { app, held: BTreeSet::new() };
    let token = hold_accounts(&mut contracts).await;
    hold_factors(&mut contracts, &token).await;
    hold_management(&mut contracts, &token).await;
    hold_ends(&mut contracts, &token).await;
    let files = docs::files("json").into_iter();
    let files = files.filter(|path| path.parent() == Some(&docs::root().join("shared/contracts")));
    let mut files: BTreeSet<String> =
        files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    // The node's.
    assert!(files.remove("close_codes") && files.remove("keywire_v1"));
    assert_eq!(contracts.held, files);
}
