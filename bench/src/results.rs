//! `results`: the JSON lines of many runs as one table, or as a chart.

mod chart;
mod figure;
mod table;

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use self::figure::Figure;

/// The server that others are set against.
const OURS: &str = "keywire";

/// The one it has to be as good as.
const RIVAL: &str = "bun";

/// What to read, and what to make of it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Files with a JSON line for each run; the order of the lines tells the rounds.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// An SVG chart instead of a Markdown table.
    #[arg(long)]
    chart: bool,
}

/// Prints the table or the chart.
///
/// # Errors
/// If a file holds something else.
pub(crate) fn print(options: &Options) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for file in &options.files {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        for line in text.lines() {
            let line: Value =
                serde_json::from_str(line).with_context(|| file.display().to_string())?;
            lines.push(line);
        }
    }
    let figures = figure::all(&lines);
    let text = if options.chart { chart::svg(&figures) } else { table::markdown(&figures) };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// The servers, in the order of their first appearance.
fn servers(figures: &[Figure]) -> Vec<&str> {
    let mut servers: Vec<&str> = Vec::new();
    for (server, _) in figures.iter().flat_map(|figure| &figure.values) {
        if !servers.contains(&server.as_str()) {
            servers.push(server);
        }
    }
    servers
}

/// A number as a person reads it: three digits that count, or all before the point.
fn readable(value: f64) -> String {
    let (value, unit) = if value.abs() >= 1e6 { (value / 1e6, " million") } else { (value, "") };
    let digits = match value.abs() {
        _ if value.fract() == 0.0 => 0,
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.digits$}{unit}")
}
