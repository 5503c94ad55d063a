//! Examples of bodies: the fixtures in shared/contracts, a file for each operation that has a body.

use serde_json::Value;

macro_rules! fixtures {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../../shared/contracts/", $name, ".json")))),*]
    };
}

/// Each fixture by the id of its operation.
const FIXTURES: &[(&str, &str)] = fixtures! {
    "add_passkey"
    "begin_passkey"
    "begin_passkey_login"
    "begin_totp"
    "change_email"
    "change_password"
    "change_user"
    "confirm_totp"
    "delete_me"
    "export_me"
    "forgot_password"
    "health"
    "jwks"
    "list_audit"
    "list_factors"
    "list_sessions"
    "list_users"
    "log_out"
    "login"
    "passkey_login"
    "prove_second_factor"
    "refresh_tokens"
    "register"
    "renew_recovery_codes"
    "reset_password"
    "show_me"
    "show_user"
    "update_me"
    "verify_email"
};

/// The fixture of an operation: `request`, `status` and `response`, the bodies where there are any.
pub(super) fn fixture(operation: &str) -> Option<Value> {
    let (_, text) = FIXTURES.iter().find(|(name, _)| *name == operation)?;
    Some(serde_json::from_str(text).expect("the fixtures are JSON"))
}

/// A body of an operation.
fn body(operation: &str, member: &str) -> Value {
    fixture(operation).expect("each operation with a body has a fixture")[member].take()
}

/// What an account is made with and signs in with.
pub(crate) fn credentials() -> Value {
    body("login", "request")
}

/// An account that was made.
pub(crate) fn registered() -> Value {
    body("register", "response")
}

/// The answer to a right password.
pub(crate) fn signed_in() -> Value {
    body("login", "response")
}

/// One's own account.
pub(crate) fn profile() -> Value {
    body("show_me", "response")
}

/// A set of public keys.
pub(crate) fn key_set() -> Value {
    body("jwks", "response")
}

/// That a function answers.
pub(crate) fn health() -> Value {
    body("health", "response")
}

/// A refresh token.
pub(crate) fn refresh() -> Value {
    body("refresh_tokens", "request")
}

/// A sign-out everywhere.
pub(crate) fn sign_out() -> Value {
    body("log_out", "request")
}

/// A new name for people, and no text.
pub(crate) fn profile_change() -> Value {
    body("update_me", "request")
}

/// The password once more.
pub(crate) fn own_password() -> Value {
    body("delete_me", "request")
}

/// Another password.
pub(crate) fn password_change() -> Value {
    body("change_password", "request")
}

/// One's own sessions.
pub(crate) fn sessions() -> Value {
    body("list_sessions", "response")
}

/// Another role.
pub(crate) fn managed_change() -> Value {
    body("change_user", "request")
}

/// An account, as who manages it sees it.
pub(crate) fn managed() -> Value {
    body("show_user", "response")
}

/// The only page of accounts.
pub(crate) fn users_page() -> Value {
    body("list_users", "response")
}

/// The only page of the audit log.
pub(crate) fn audit_page() -> Value {
    body("list_audit", "response")
}

/// Nothing.
pub(crate) fn nothing() -> Value {
    body("begin_totp", "request")
}

/// A code of the app.
pub(crate) fn second_factor() -> Value {
    body("prove_second_factor", "request")
}

/// An assertion.
pub(crate) fn passkey_login() -> Value {
    body("passkey_login", "request")
}

/// A code of the app.
pub(crate) fn totp_code() -> Value {
    body("confirm_totp", "request")
}

/// A new passkey.
pub(crate) fn new_passkey() -> Value {
    body("add_passkey", "request")
}

/// What a browser is asked to sign in with.
pub(crate) fn request_options() -> Value {
    body("begin_passkey_login", "response")
}

/// What a browser is asked to make a passkey with.
pub(crate) fn creation_options() -> Value {
    body("begin_passkey", "response")
}

/// A passkey that was added.
pub(crate) fn added_passkey() -> Value {
    body("add_passkey", "response")
}

/// A passkey, and recovery codes.
pub(crate) fn factors() -> Value {
    body("list_factors", "response")
}

/// What an app needs.
pub(crate) fn begun_totp() -> Value {
    body("begin_totp", "response")
}

/// The codes that a confirmation gives.
pub(crate) fn confirmed_totp() -> Value {
    body("confirm_totp", "response")
}

/// New recovery codes.
pub(crate) fn recovery_codes() -> Value {
    body("renew_recovery_codes", "response")
}

/// Everything about a user.
pub(crate) fn export() -> Value {
    body("export_me", "response")
}

/// An address.
pub(crate) fn forgotten() -> Value {
    body("forgot_password", "request")
}

/// A link of a mail, and a password.
pub(crate) fn reset() -> Value {
    body("reset_password", "request")
}

/// A link of a mail.
pub(crate) fn link_token() -> Value {
    body("verify_email", "request")
}

/// Another address.
pub(crate) fn email_change() -> Value {
    body("change_email", "request")
}
