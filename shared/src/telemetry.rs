//! Log lines: readable at a terminal, JSON elsewhere.

use std::io::IsTerminal;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, filter, fmt, registry};

use crate::settings::{Log, LogFormat};

/// What says more at `trace` than may be kept, whatever `LOG` asks for: the Lambda runtime writes
/// whole events, passwords included. hyper, rustls, sqlx and the AWS SDK do not, or redact.
const NEVER_TRACED: &str = "lambda_runtime";

/// Starts logging to standard error. A second start in one process changes nothing.
///
/// # Errors
/// A sentence when the filter `LOG` cannot be read.
pub fn start(log: &Log) -> Result<(), String> {
    let terminal = std::io::stderr().is_terminal();
    if subscriber(log, terminal, std::io::stderr)?.try_init().is_err() {
        tracing::debug!("logging was started before");
    }
    Ok(())
}

/// What [`start`] starts, writing elsewhere. `terminal` is whether people read it there.
///
/// # Errors
/// A sentence when the filter `LOG` cannot be read.
pub fn subscriber<W>(
    log: &Log,
    terminal: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + use<W>, String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&log.filter).map_err(|why| format!("LOG: {why}"))?;
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = fmt::layer().with_ansi(terminal).with_writer(writer);
    let lines = if json {
        // The span is the request; there are none within it.
        lines.json().flatten_event(true).with_span_list(false).boxed()
    } else {
        lines.with_target(false).compact().boxed()
    };
    Ok(registry().with(filter::filter_fn(may_be_kept)).with(filter).with(lines))
}

fn may_be_kept(metadata: &Metadata<'_>) -> bool {
    let module = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() != Level::TRACE || module != NEVER_TRACED
}
