//! What a run says: progress while it goes on, one JSON line at its end.

use std::io::{self, Write as _};

use serde_json::{Value, json};

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Its name on the command line.
    pub(crate) run: &'static str,
    /// Whether every bar was met.
    pub(crate) met: bool,
    /// The figures, a JSON object.
    pub(crate) figures: Value,
}

/// Says on standard error what is being done.
#[expect(clippy::print_stderr, reason = "a command line program's progress")]
pub(crate) fn progress(text: &str) {
    eprintln!("bench: {text}");
}

/// Prints `{"run", "met", "machine", "figures"}` as one line.
///
/// # Errors
/// If standard output is closed.
pub(crate) fn print(outcome: &Outcome, machine: &Value) -> io::Result<()> {
    let Outcome { run, met, figures } = outcome;
    let line = json!({"run": run, "met": met, "machine": machine, "figures": figures});
    writeln!(io::stdout().lock(), "{line}")
}

/// Rounded to three decimals, which is a microsecond when the unit is a millisecond.
pub(crate) fn rounded(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}
