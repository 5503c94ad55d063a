//! `cargo dev test`: everything the tests need, the tests, and nothing left behind.

use std::ffi::OsString;
use std::process::{Command, ExitCode, Stdio};

use clap::{Args, ValueEnum};

use super::runner::Stdin;
use super::services::Services;
use super::{aws_tools, openapi_tools, runner, say, smtp, web};
use crate::settings::Machine;
use crate::signals::Signals;

/// Everything in Rust; without the last two words the Lambda tests too.
const RUST_NEXTEST: &[&str] =
    &["cargo", "nextest", "run", "--workspace", "-E", "not test(/^(aws|openapi::tools)::/)"];
/// The Lambda tests.
const AWS_NEXTEST: &[&str] =
    &["cargo", "nextest", "run", "--package=local", "--test=it", "-E", "test(/^aws::/)"];
/// The tests of the OpenAPI document, with a validator and a fuzzer.
const OPENAPI_NEXTEST: &[&str] =
    &["cargo", "nextest", "run", "--package=local", "--test=it", "-E", "test(/^openapi::/)"];
/// Everything, where nextest is not installed.
const RUST_TEST: &[&str] = &["cargo", "test", "--workspace", "--no-fail-fast"];
/// For the tests themselves then. They share a process, whose memory and logs some of them look at: one
/// at a time.
const ONE_BY_ONE: &str = "--test-threads=1";
/// What is said then.
const NO_NEXTEST: &str = "cargo-nextest is not installed: the tests run one by one, which takes longer, and one that \
                          hangs is not ended (cargo install --locked cargo-nextest)";
/// The Lambda tests, where nextest is not installed.
const AWS_TEST: &[&str] = &["cargo", "test", "--package=local", "--test=it", "aws::"];
/// The tests of the OpenAPI document, where nextest is not installed.
const OPENAPI_TEST: &[&str] = &["cargo", "test", "--package=local", "--test=it", "openapi::"];
/// The examples in documentation.
const DOC_TEST: &[&str] = &["cargo", "test", "--workspace", "--doc", "--quiet"];

/// What the command line of `cargo dev test` says.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only this part of the tests.
    #[arg(value_enum)]
    part: Option<Part>,
    /// For the test runner: names of tests, flags.
    #[arg(last = true)]
    filter: Vec<OsString>,
}

/// What the command line of `cargo dev with` says.
#[derive(Debug, Args)]
pub(super) struct Given {
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    words: Vec<OsString>,
}

/// A part of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Everything in Rust but the Lambda binaries and what needs the OpenAPI tools.
    Rust,
    /// The client in TypeScript, and what runs in a real browser.
    Web,
    /// The Lambda binaries and the template, with AWS's own tools.
    Aws,
    /// The OpenAPI document, and a fuzzer of what it describes.
    Openapi,
}

/// Runs the tests, all or a part.
///
/// # Errors
/// If what they need cannot be had; a test that fails is an exit code.
pub(super) async fn test(machine: &Machine, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let mut more = Vec::new();
    let mut browser = None;
    if matches!(arguments.part, None | Some(Part::Web)) {
        let web::Provided { node, files, variables } = tokio::select! {
            provided = web::provide(machine.chromium.clone()) => provided?,
            signal = signals.next() => return Ok(runner::signalled(signal)),
        };
        if arguments.part.is_some() {
            // Node takes its flags before the files.
            let command = [&node, &arguments.filter, &files].map(Vec::as_slice).concat();
            return runner::run(&command, &variables, Stdin::Closed, &mut signals).await;
        }
        more = variables;
        browser = Some([node, files].concat());
    }
    more.extend(tokio::select! {
        more = tools(machine, arguments.part) => more?,
        signal = signals.next() => return Ok(runner::signalled(signal)),
    });
    let nextest = has_nextest();
    if !nextest {
        say(NO_NEXTEST);
    }
    let commands: Vec<_> = commands(&arguments, nextest).into_iter().chain(browser).collect();
    serve(machine, signals, more, &commands, Stdin::Closed).await
}

/// The Python tools of a part, as variables that tell the tests where they are.
async fn tools(machine: &Machine, part: Option<Part>) -> anyhow::Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    if matches!(part, None | Some(Part::Aws)) {
        variables.extend(aws_tools::provide(&machine.cache).await?);
    }
    if matches!(part, None | Some(Part::Openapi)) {
        variables.push(openapi_tools::provide(&machine.cache).await?);
    }
    Ok(variables)
}

/// Runs any command with what the tests need.
///
/// # Errors
/// As [`test()`].
pub(super) async fn with(machine: &Machine, given: Given) -> anyhow::Result<ExitCode> {
    serve(machine, Signals::new()?, Vec::new(), &[given.words], Stdin::Ours).await
}

/// The same with further variables, and nothing to read.
///
/// # Errors
/// As [`test()`].
pub(super) async fn with_variables(
    machine: &Machine,
    words: Vec<OsString>,
    variables: Vec<(String, String)>,
) -> anyhow::Result<ExitCode> {
    serve(machine, Signals::new()?, variables, &[words], Stdin::Closed).await
}

/// Starts the servers, runs the commands until one fails, ends the servers.
async fn serve(
    machine: &Machine,
    mut signals: Signals,
    more: Vec<(String, String)>,
    commands: &[Vec<OsString>],
    stdin: Stdin,
) -> anyhow::Result<ExitCode> {
    let starting =
        async { tokio::try_join!(Services::start(machine), smtp::provide(&machine.cache)) };
    let (services, mail_server) = tokio::select! {
        started = starting => started?,
        signal = signals.next() => return Ok(runner::signalled(signal)),
    };
    let mut variables = services.variables().to_vec();
    variables.push(mail_server);
    variables.extend(more);
    let mut code = Ok(ExitCode::SUCCESS);
    for words in commands {
        code = runner::run(words, &variables, stdin, &mut signals).await;
        if !matches!(code, Ok(ExitCode::SUCCESS)) {
            break;
        }
    }
    services.stop().await?;
    code
}

/// The commands of a part. The Lambda tests are the module `aws` of the integration tests.
fn commands(arguments: &Arguments, nextest: bool) -> Vec<Vec<OsString>> {
    let (run, after): (_, &[&str]) = match (nextest, arguments.part) {
        (true, Some(Part::Aws)) => (AWS_NEXTEST, &[]),
        (true, Some(Part::Openapi)) => (OPENAPI_NEXTEST, &[]),
        (true, Some(Part::Rust)) => (RUST_NEXTEST, &[]),
        (true, _) => (&RUST_NEXTEST[..RUST_NEXTEST.len() - 2], &[]),
        (false, Some(Part::Aws)) => (AWS_TEST, &["--", ONE_BY_ONE]),
        (false, Some(Part::Openapi)) => (OPENAPI_TEST, &["--", ONE_BY_ONE]),
        (false, Some(Part::Rust)) => {
            (RUST_TEST, &["--", ONE_BY_ONE, "--skip", "aws::", "--skip", "openapi::tools::"])
        }
        (false, _) => (RUST_TEST, &["--", ONE_BY_ONE]),
    };
    let mut tests: Vec<OsString> = run.iter().map(Into::into).collect();
    tests.extend(arguments.filter.iter().cloned());
    tests.extend(after.iter().map(Into::into));
    // nextest does not run the examples in documentation; cargo test does, with the rest.
    let whole = matches!(arguments.part, None | Some(Part::Rust));
    let examples = nextest && whole && arguments.filter.is_empty();
    let examples = examples.then(|| DOC_TEST.iter().map(Into::into).collect());
    examples.into_iter().chain([tests]).collect()
}

fn has_nextest() -> bool {
    let mut command = Command::new("cargo");
    command.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(part: Option<Part>, filter: &[&str], nextest: bool) -> Vec<String> {
        let filter = filter.iter().map(Into::into).collect();
        let commands = commands(&Arguments { part, filter }, nextest);
        let joined = commands.iter().map(|words| words.join(" ".as_ref()));
        joined.map(|line| line.into_string().unwrap()).collect()
    }

    #[test]
    fn without_a_part_everything_runs() {
        let all = ["cargo test --workspace --doc --quiet", "cargo nextest run --workspace"];
        assert_eq!(lines(None, &[], true), all);
        let one_by_one = "cargo test --workspace --no-fail-fast -- --test-threads=1";
        assert_eq!(lines(None, &[], false), [one_by_one]);
    }

    #[test]
    fn a_part_runs_alone_and_a_filter_is_passed_on() {
        let rust = lines(Some(Part::Rust), &["login"], true);
        assert_eq!(
            rust,
            ["cargo nextest run --workspace -E not test(/^(aws|openapi::tools)::/) login"]
        );
        let rust = lines(Some(Part::Rust), &["login"], false);
        let expected = "cargo test --workspace --no-fail-fast login -- --test-threads=1 --skip aws:: --skip openapi::tools::";
        assert_eq!(rust, [expected]);
        let aws = lines(Some(Part::Aws), &[], true);
        assert_eq!(aws, ["cargo nextest run --package=local --test=it -E test(/^aws::/)"]);
        let openapi = lines(Some(Part::Openapi), &[], true);
        assert_eq!(openapi, ["cargo nextest run --package=local --test=it -E test(/^openapi::/)"]);
    }
}
