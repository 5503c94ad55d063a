//! `POST /login` as a Lambda function.

use std::process::ExitCode;

use functions::{TokenKeys, lambda, login};
use shared::second_factor::Vault;
use shared::secrets::{Pepper, Signing};

fn main() -> ExitCode {
    lambda::main(|app, (pepper, signing): (Pepper, Signing)| {
        let (vault, tokens) = (Vault::new(&pepper)?, TokenKeys::new(app, signing)?);
        Ok(login::router(app.clone(), app.passwords(pepper), vault, tokens))
    })
}
