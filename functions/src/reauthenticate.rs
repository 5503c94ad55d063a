//! The password once more, before what a stolen session must not be enough for.

use shared::access_token::Claims;
use shared::credentials::Password;
use shared::db::sign_in::{Account, CurrentPassword};
use shared::extract::Caller;
use shared::password::{Passwords, Verdict};
use shared::problem::{Code, Problem, Result};
use time::OffsetDateTime;

use crate::App;
use crate::attempt::Attempt;

/// The caller's account and the password that was checked. What is then done must hold its
/// `changed_at` against the row, as the password may change meanwhile.
#[derive(Debug)]
pub(crate) struct Reauthenticated {
    /// The account.
    pub(crate) account: Account,
    /// When the password that was checked had been set.
    pub(crate) verified: OffsetDateTime,
}

/// Checks the password of whoever calls. Counted, locked and limited as a sign-in by name is, and under
/// the same counters: whoever holds a session has no more guesses than somebody without one. The account
/// is the session's, whatever it is called: an imported name may look like an address, which no sign-in
/// takes for a name.
///
/// # Errors
/// 401 `session_revoked`, 403 `wrong_password`, 429 `rate_limited`, 503 `unavailable`.
pub(crate) async fn reauthenticate(
    app: &App,
    passwords: &Passwords,
    claims: &Claims,
    password: &Password,
    caller: &Caller,
) -> Result<Reauthenticated> {
    let now = app.clock.now();
    let profile = app.db.check(claims, now).await?;
    let attempt = Attempt::again(app, passwords, (claims.sub, &profile.username), caller);
    let account = attempt.admit().await?;
    let current = account.as_ref().and_then(|account| account.password.as_ref());
    let stored = current.map(|current| &current.stored);
    let verdict = passwords.verify(password, stored).await?;
    match (verdict, account) {
        (Verdict::Right(_), Some(account)) if account.active => {
            let verified =
                account.password.as_ref().map(|CurrentPassword { changed_at, .. }| *changed_at);
            let verified = verified.ok_or_else(wrong)?;
            Ok(Reauthenticated { account, verified })
        }
        _ => Err(attempt.fail(Some(claims.sub), Code::WrongPassword, caller).await),
    }
}

/// The refusal of a wrong password.
pub(crate) fn wrong() -> Problem {
    Problem::new(Code::WrongPassword)
}
