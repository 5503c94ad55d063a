//! A router as a Lambda function: its start, and what it does until Lambda ends the sandbox.
//!
//! A panic in a handler is answered by the front as a problem. What panics before it, in the reading
//! of an event, is caught by the runtime and answered as an error, and the sandbox goes on: this
//! needs unwinding, see `[profile.release]`.

pub mod courier;
mod gateway;
pub mod keys;

use std::process::ExitCode;

use anyhow::Context;
use axum::Router;
use shared::clock::Clock;
use shared::db::Database;
use shared::front::Front;
use shared::secrets::WrongKeys;
use shared::settings::{Log, LogFormat, Reader};
use shared::telemetry;

use crate::App;
use crate::settings::lambda::Settings;
use keys::{Gate, Keys, Named, Store};

/// Runs an endpoint that needs the secrets `K`, and is the `main` of its binary.
///
/// A wrong setting or secret ends the process with a line that names the variable.
pub fn main<K: Keys>(endpoint: impl FnOnce(&App, K) -> Result<Router, WrongKeys>) -> ExitCode {
    report(run(endpoint))
}

/// Runs the whole of a process, and logs why it ended.
fn report(whole: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    // One request at a time runs in a sandbox; hashing has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(whole),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the function has ended");
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::future_not_send,
    reason = "the whole of a process, never handed to another thread"
)]
async fn run<K: Keys>(
    endpoint: impl FnOnce(&App, K) -> Result<Router, WrongKeys>,
) -> anyhow::Result<()> {
    let mut reader = Reader::from_env();
    let settings = begin(&mut reader, |reader| Settings::read(reader, K::VARIABLES))?;
    reader.finish()?;
    let store = Store::new(&settings)?;
    let opened = open(&settings, &store);
    let ((db, connected), keys) = tokio::try_join!(opened, K::fetch(&store))?;
    let gate = Gate::new(db.clone(), keys.clone(), Named::of(&settings));
    if connected {
        gate.check_at_start().await?;
    }
    let app = App::new(db, Clock::System, settings.endpoints);
    let router = gate.layer(endpoint(&app, keys)?);
    let router = Front::new(app.settings.http.clone()).layer(router);
    let answered = lambda_http::run(gateway::service(router)).await;
    answered.map_err(|error| anyhow::anyhow!(error)).context("Lambda's runtime API")
}

/// What comes first in every function: its log, its settings, the crypto provider.
fn begin<S>(reader: &mut Reader, read: impl FnOnce(&mut Reader) -> S) -> anyhow::Result<S> {
    start_logging(&Log::read(reader))?;
    let settings = read(reader);
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another crypto provider was installed before"))?;
    Ok(settings)
}

/// Logs from here on. Through the default filter when `LOG` is wrong: it was refused when it was
/// read, and is told together with all that is wrong.
fn start_logging(log: &Log) -> anyhow::Result<()> {
    let usual = Log { filter: "info".to_owned(), format: LogFormat::Json };
    telemetry::start(log).or_else(|_| telemetry::start(&usual)).map_err(anyhow::Error::msg)
}

/// The database, and whether it is connected: an address that the server refuses ends the start, and
/// connecting takes no time of its own beside fetching the keys.
async fn open(settings: &Settings, store: &Store) -> Result<(Database, bool), WrongKeys> {
    let mut database = settings.database.clone();
    let variable = settings.database_variable();
    let wrong = |why: String| WrongKeys::new(format!("{variable}: {why}"));
    if let Some(arn) = &settings.database_arn {
        database.url = store.manager().await?.get_text(variable, arn).await?;
    }
    let db = Database::new(&database, None);
    let db = db.map_err(|why| wrong(format!("not an address: {why}")))?;
    if settings.database_arn.is_some() && !db.is_shielded() {
        return Err(wrong(
            "add ?sslmode=verify-full (docs/aws.md): whoever stands between could \
                          read the passwords' hashes and answer in the database's place"
                .to_owned(),
        ));
    }
    match db.connect().await {
        Ok(()) => Ok((db, true)),
        // A database that is away does not end the start: requests get their 503 until it is there.
        Err(error) if error.is_passing() => {
            tracing::warn!(%error, "database not available");
            Ok((db, false))
        }
        Err(error) => Err(wrong(error.to_string())),
    }
}
