//! A router as a Lambda function: its start, and what it does until Lambda ends the sandbox.
//!
//! A panic in a handler is answered by the front as a problem. What panics before it, in the reading
//! of an event, is caught by the runtime and answered as an error, and the sandbox goes on: this
//! needs unwinding, see `[profile.release]`.

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
use crate::settings::lambda::{DATABASE_ARN, Settings};
use keys::{Gate, Keys, Store};

/// Runs an endpoint that needs the secrets `K`, and is the `main` of its binary.
///
/// A wrong setting or secret ends the process with a line that names the variable.
pub fn main<K: Keys>(endpoint: impl FnOnce(&App, K) -> Result<Router, WrongKeys>) -> ExitCode {
    // One request at a time runs in a sandbox; hashing has threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(endpoint)),
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
    start_logging(&Log::read(&mut reader))?;
    let settings = Settings::read(&mut reader, K::VARIABLES);
    reader.finish()?;
    let store = Store::new(&settings)?;
    let opened = open::<K>(&settings, &store);
    let ((db, connected), keys) = tokio::try_join!(opened, K::fetch(&store))?;
    let gate = Gate::new(db.clone(), keys.clone(), settings.keys_file.is_some());
    if connected {
        gate.check_at_start().await?;
    }
    let app = App::new(db, Clock::System, settings.endpoints);
    let router = gate.layer(endpoint(&app, keys)?);
    let router = Front::new(app.settings.http.clone()).layer(router);
    let answered = lambda_http::run(gateway::service(router)).await;
    answered.map_err(|error| anyhow::anyhow!(error)).context("Lambda's runtime API")
}

/// Logs from here on; a wrong filter is told through the default one.
fn start_logging(log: &Log) -> anyhow::Result<()> {
    let Err(why) = telemetry::start(log) else { return Ok(()) };
    let usual = Log { filter: "info".to_owned(), format: LogFormat::Json };
    telemetry::start(&usual).map_err(anyhow::Error::msg)?;
    Err(anyhow::Error::msg(why))
}

/// The database, and whether it is connected. It is tried when keys will be held against it, so that
/// connecting takes no time of its own beside fetching them.
async fn open<K: Keys>(settings: &Settings, store: &Store) -> Result<(Database, bool), WrongKeys> {
    let mut database = settings.database.clone();
    let mut variable = "DATABASE_URL";
    if let Some(arn) = &settings.database_arn {
        variable = DATABASE_ARN;
        database.url = store.manager().await?.get_text(variable, arn).await?;
    }
    let db = Database::new(&database, None);
    let db = db.map_err(|why| WrongKeys::new(format!("{variable}: not an address: {why}")))?;
    if K::VARIABLES.is_empty() {
        return Ok((db, false));
    }
    // A database that is away does not end the start: the gate then checks at the first request.
    let connected = db.pool().acquire().await;
    let connected = connected.inspect_err(|error| tracing::warn!(%error, "database not available"));
    let connected = connected.is_ok();
    Ok((db, connected))
}
