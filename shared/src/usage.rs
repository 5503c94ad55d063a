//! The command line of a program that takes no arguments: its settings come from the environment.

use std::ffi::OsString;
use std::process::ExitCode;

/// Ends a program that was asked what it is, or was given arguments; `None`: it may start. `arguments` are
/// those behind the program's name.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the answer of a command line program"
)]
pub fn answer(usage: &str, arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter();
    let first = arguments.next()?;
    if (first == "--help" || first == "-h") && arguments.next().is_none() {
        println!("{usage}");
        return Some(ExitCode::SUCCESS);
    }
    eprintln!("error: unknown argument {}\n\n{usage}", first.display());
    Some(ExitCode::from(2))
}
