//! `POST /login` as a Lambda function.

use std::process::ExitCode;

use functions::{TokenKeys, lambda, login};
use shared::secrets::{Pepper, Signing};

fn main() -> ExitCode {
    lambda::main(|app, (pepper, signing): (Pepper, Signing)| {
        let tokens = TokenKeys::new(app, signing)?;
        Ok(login::router(app.clone(), app.passwords(pepper), tokens))
    })
}
