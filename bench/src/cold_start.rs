//! `cold-start`: from a Lambda binary's start to its first request for work, and to its first answer.
//!
//! Each start is a fresh process under a stand-in for Lambda's runtime API, with a database and a file
//! of keys; fetching secrets over TLS is not in it. The binaries take turns, so that a busy moment of
//! the machine falls on all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::keywire::Keywire;
use crate::report::{Outcome, progress};
use crate::samples::Samples;

/// The functions of the template.
const BINARIES: [&str; 3] = ["register", "login", "discovery"];

/// What each is sent first: nothing that costs a hash.
const EVENT: &str = include_str!("../../shared/contracts/events/health.json");

/// The longest that Lambda waits for a start.
const INIT_LIMIT: Duration = Duration::from_secs(10);

/// The largest request that a function makes here.
const REQUEST_MAX: usize = 64 * 1024;

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The directory of the Lambda binaries, such as `target/lambda`.
    #[arg(long)]
    functions: PathBuf,
    /// Starts of each.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1000))]
    starts: u32,
}

/// What one binary gave.
struct Figures {
    binary: &'static str,
    /// From its start to its first request for work.
    init: Samples,
    /// From its first event to the answer.
    first: Samples,
    /// The most memory it held, in KiB, of all starts.
    peak_kib: u64,
}

/// Runs it. There is no bar: the figures are for comparing builds.
///
/// # Errors
/// If a function does not start or does not answer.
pub(crate) async fn run(program: &Path, options: &Options) -> anyhow::Result<Outcome> {
    let keywire = Keywire::start(program, &[]).await?;
    let mut all = BINARIES.map(|binary| Figures {
        binary,
        init: Samples::new(),
        first: Samples::new(),
        peak_kib: 0,
    });
    for round in 0..options.starts {
        progress(&format!("start {} of {}", round + 1, options.starts));
        for figures in &mut all {
            figures.measure(&keywire, &options.functions).await?;
        }
    }
    keywire.end().await?;
    let figures: Vec<_> =
        all.iter().map(|one| one.json(&options.functions)).collect::<Result<_, _>>()?;
    Ok(Outcome { run: "cold-start", met: true, figures: json!(figures) })
}

impl Figures {
    /// Starts the binary once.
    async fn measure(&mut self, keywire: &Keywire, functions: &Path) -> anyhow::Result<()> {
        let api = TcpListener::bind("127.0.0.1:0").await?;
        let started = Instant::now();
        let child = spawn(&functions.join(self.binary), keywire, &api)?;
        let next = async {
            let (mut stream, _) = api.accept().await?;
            let line = request(&mut stream).await?;
            ensure!(line.starts_with("GET /2018-06-01/runtime/invocation/next"), "{line}");
            Ok(stream)
        };
        let stream = timeout(INIT_LIMIT, next).await;
        let mut stream = stream.with_context(|| format!("{} does not start", self.binary))??;
        self.init.record(started.elapsed());
        let sent = Instant::now();
        send_event(&mut stream).await?;
        let answer = timeout(INIT_LIMIT, request(&mut stream)).await;
        let line = answer.with_context(|| format!("{} does not answer", self.binary))??;
        ensure!(line.ends_with("/response HTTP/1.1"), "{}: {line}", self.binary);
        self.first.record(sent.elapsed());
        self.peak_kib = self.peak_kib.max(peak_kib(&child)?);
        Ok(())
    }

    fn json(&self, functions: &Path) -> anyhow::Result<Value> {
        let bytes = fs::metadata(functions.join(self.binary))?.len();
        Ok(json!({
            "binary": self.binary, "bytes": bytes, "peak_kib": self.peak_kib,
            "init_ms": self.init.json(), "first_ms": self.first.json(),
        }))
    }
}

/// Starts a binary as Lambda does. Dropping it ends it.
fn spawn(binary: &Path, keywire: &Keywire, api: &TcpListener) -> anyhow::Result<Child> {
    let mut command = Command::new(binary);
    command
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", api.local_addr()?.to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", "function")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("CLIENT_ADDRESS", "gateway")
        .env("DATABASE_POOL", "1")
        .env("DATABASE_URL", format!("{}&options[role]=keywire_app", keywire.database_url))
        .env("KEYS_FILE", keywire.keys_file())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command.spawn().with_context(|| format!("{} cannot be started", binary.display()))
}

/// Reads one request, body and all, and returns its first line.
async fn request(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut read = Vec::new();
    loop {
        ensure!(stream.read_buf(&mut read).await? > 0, "the function has ended");
        ensure!(read.len() < REQUEST_MAX, "a request without an end");
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head_lower = head.to_ascii_lowercase();
        let length = head_lower.lines().find_map(|line| line.strip_prefix("content-length: "));
        let whole = match length {
            Some(length) => body.len() >= length.parse::<usize>()?,
            // A chunked body ends with an empty chunk, a GET has none.
            None => head.starts_with("GET") || body.ends_with("0\r\n\r\n"),
        };
        if whole {
            return Ok(head.lines().next().unwrap_or_default().to_owned());
        }
    }
}

/// Answers the request for work.
async fn send_event(stream: &mut TcpStream) -> anyhow::Result<()> {
    let length = EVENT.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n\
         Lambda-Runtime-Deadline-Ms: 4102444800000\r\n\
         Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-central-1:123456789012:function:f\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), EVENT.as_bytes()].concat()).await?;
    Ok(())
}

/// The most memory the process ever held.
fn peak_kib(child: &Child) -> anyhow::Result<u64> {
    let pid = child.id().context("the function has ended")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.context("/proc says no peak")?.parse()?)
}
