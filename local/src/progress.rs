//! What the process is doing until it is ready: a moving line at a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::ProgressBar;

/// Between two movements of the line.
const TICK: Duration = Duration::from_millis(100);

/// Shows the step under way; gone when dropped.
#[derive(Debug)]
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Shows nothing yet.
    pub(crate) fn new() -> Self {
        Self(std::io::stderr().is_terminal().then(ProgressBar::new_spinner))
    }

    /// Shows the step.
    pub(crate) fn step(&self, text: &str) {
        match &self.0 {
            Some(bar) => {
                bar.enable_steady_tick(TICK);
                bar.set_message(format!("{text} …"));
            }
            None => say(text),
        }
    }

    /// Says a line that stays, and moves until the next step: what it tells of takes its time.
    pub(crate) fn fetching(&self, text: &str) {
        self.note(text);
        if let Some(bar) = &self.0 {
            bar.enable_steady_tick(TICK);
            bar.set_message("Fetching …");
        }
    }

    /// Says a line that stays.
    pub(crate) fn note(&self, text: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Says a line to the person who runs the command; standard output is for what was asked for.
#[expect(clippy::print_stderr, reason = "a command line program speaks to its user")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}
