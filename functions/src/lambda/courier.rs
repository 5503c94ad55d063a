//! The courier as a Lambda function: each invocation works for `COURIER_RUN`.

use std::process::ExitCode;

use anyhow::Context as _;
use lambda_http::{LambdaEvent, lambda_runtime, service_fn};
use secrecy::ExposeSecret as _;
use serde_json::Value as Json;
use shared::clock::Clock;
use shared::mail::Smtp;
use shared::secrets::{Links, WrongKeys};
use shared::settings::{Reader, Value as _};
use tokio::time::sleep;

use super::keys::{Keys as _, Store};
use super::{begin, open, report};
use crate::App;
use crate::courier::Courier;
use crate::settings::lambda::{SMTP_ARN, Settings};

/// The `main` of its binary.
///
/// A wrong setting or secret ends the process with a line that names the variable.
pub fn main() -> ExitCode {
    report(run())
}

async fn run() -> anyhow::Result<()> {
    let mut reader = Reader::from_env();
    let mut settings = begin(&mut reader, |reader| Settings::courier(reader, Links::VARIABLES))?;
    reader.finish()?;
    let store = Store::new(&settings)?;
    let ((db, _), links) = tokio::try_join!(open(&settings, &store), Links::fetch(&store))?;
    if let Some(arn) = &settings.smtp_arn {
        let address = store.manager().await?.get_text(SMTP_ARN, arn).await?;
        let smtp = Smtp::parse(address.expose_secret());
        let wrong = |why: String| WrongKeys::new(format!("{SMTP_ARN}: {arn}: {why}"));
        settings.endpoints.courier.smtp = Some(smtp.map_err(wrong)?);
    }
    let app = App::new(db, Clock::System, settings.endpoints);
    let courier = Courier::sending(&app, links)?;
    let time = app.settings.courier.run;
    let work = service_fn(|_: LambdaEvent<Json>| async {
        courier.run(sleep(time)).await;
        Ok::<_, lambda_http::Error>(Json::Null)
    });
    let worked = lambda_runtime::run(work).await;
    worked.map_err(|error| anyhow::anyhow!(error)).context("Lambda's runtime API")
}
