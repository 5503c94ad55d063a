//! Examples of bodies, from the fixtures in shared/contracts where there is one.

use serde_json::{Value, json};

/// A member of a fixture.
fn fixture(text: &str, member: &str) -> Value {
    let fixture: Value = serde_json::from_str(text).expect("the fixtures are JSON");
    fixture[member].clone()
}

/// What an account is made with and signs in with.
pub(crate) fn credentials() -> Value {
    fixture(include_str!("../../../shared/contracts/login.json"), "request")
}

/// An account that was made.
pub(crate) fn registered() -> Value {
    fixture(include_str!("../../../shared/contracts/register.json"), "response")
}

/// The answer to a right password.
pub(crate) fn signed_in() -> Value {
    fixture(include_str!("../../../shared/contracts/login.json"), "response")
}

/// One's own account.
pub(crate) fn profile() -> Value {
    json!({ "user": {
        "id": "01a204df-33f8-7010-bc6a-60735c16645d",
        "username": "example",
        "display_name": "Ann Example",
        "bio": null,
        "email": "ann@example.com",
        "roles": ["member"],
        "created_at": "2026-11-22T20:07:45.957587Z",
    } })
}

/// A set of public keys.
pub(crate) fn key_set() -> Value {
    json!({ "keys": [{
        "alg": "EdDSA",
        "crv": "Ed25519",
        "kid": "YHyT8POABiX_2Vud5rkfdxzaAXHscRHUSi4ONbMKxG8",
        "kty": "OKP",
        "use": "sig",
        "x": "6jVYSjjZTfGrc1wIidX_8IjfIlD794j1a4v604CTNcA",
    }] })
}

/// That a function answers.
pub(crate) fn health() -> Value {
    json!({ "status": "ok" })
}

/// A refresh token.
pub(crate) fn refresh() -> Value {
    json!({ "refresh_token": signed_in()["refresh_token"] })
}

/// A sign-out everywhere.
pub(crate) fn sign_out() -> Value {
    json!({ "scope": "all" })
}

/// A new name for people, and no text.
pub(crate) fn profile_change() -> Value {
    json!({ "display_name": "Ann Example", "bio": null })
}

/// The password once more.
pub(crate) fn own_password() -> Value {
    json!({ "password": "password123" })
}

/// Another password.
pub(crate) fn password_change() -> Value {
    json!({ "current_password": "password123", "new_password": "correct horse" })
}

/// One's own sessions.
pub(crate) fn sessions() -> Value {
    json!({ "sessions": [{
        "id": "01a204df-9791-7563-b25a-9c8d5e70e470",
        "current": true,
        "created_at": "2026-11-22T20:08:12.104211Z",
        "last_seen_at": "2026-11-22T20:08:12.104211Z",
        "idle_until": "2026-11-29T20:08:12.104211Z",
        "address": "127.0.0.1",
        "user_agent": "curl/8.5.0",
    }] })
}

/// Another role.
pub(crate) fn managed_change() -> Value {
    json!({ "roles": ["member", "moderator"], "status": "active" })
}

/// An account, as who manages it sees it.
pub(crate) fn managed() -> Value {
    json!({ "user": managed_user() })
}

/// The only page of accounts.
pub(crate) fn users_page() -> Value {
    json!({ "users": [managed_user()], "next_cursor": null })
}

fn managed_user() -> Value {
    json!({
        "id": "01a204df-33f8-7010-bc6a-60735c16645d",
        "username": "example",
        "display_name": "Ann Example",
        "email": "ann@example.com",
        "status": "active",
        "roles": ["member"],
        "created_at": "2026-11-22T20:07:45.957587Z",
    })
}

/// The only page of the audit log.
pub(crate) fn audit_page() -> Value {
    json!({ "entries": [{
        "id": 2,
        "at": "2026-11-22T20:08:12.104211Z",
        "event": "authn_login_success",
        "actor": null,
        "subject": "01a204df-33f8-7010-bc6a-60735c16645d",
        "session": "01a204df-9791-7563-b25a-9c8d5e70e470",
        "address": "127.0.0.1",
        "user_agent": "curl/8.5.0",
        "request_id": "01a204df-9791-7563-b25a-9c8d5e70e470",
        "detail": null,
    }], "next_cursor": null })
}

/// Nothing.
pub(crate) fn nothing() -> Value {
    json!({})
}

/// A code of the app.
pub(crate) fn second_factor() -> Value {
    json!({ "challenge": "4Jp3b0mZ", "code": "123456" })
}

/// An assertion.
pub(crate) fn passkey_login() -> Value {
    json!({ "credential": { "id": "AQID", "type": "public-key" } })
}

/// A code of the app.
pub(crate) fn totp_code() -> Value {
    json!({ "code": "123456" })
}

/// A new passkey.
pub(crate) fn new_passkey() -> Value {
    json!({ "name": "My phone", "credential": { "id": "AQID", "type": "public-key" } })
}

/// An address.
pub(crate) fn forgotten() -> Value {
    json!({ "email": "ann@example.com" })
}

/// A link of a mail, and a password.
pub(crate) fn reset() -> Value {
    json!({ "token": "AaTfM_h3", "password": "correct horse" })
}

/// A link of a mail.
pub(crate) fn link_token() -> Value {
    json!({ "token": "AaTfM_h3" })
}

/// Another address.
pub(crate) fn email_change() -> Value {
    json!({ "email": "ann@example.com", "password": "password123" })
}
