//! What proves a sign-in beside the password: codes of an authenticator app, and recovery codes.

mod recovery_code;
mod totp;
mod vault;

pub use recovery_code::{RECOVERY_CODES, RecoveryCode};
pub use totp::{Code, TotpSecret};
pub use vault::Vault;
