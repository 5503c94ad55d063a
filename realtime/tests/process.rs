//! The binary as an orchestrator sees it: variables, signals, exit codes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running node process.
struct Process {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("{what} did not happen in {PATIENCE:?}"))
}

impl Process {
    fn start(settings: &[(&str, &str)]) -> Self {
        Self::spawn(&mut Command::new(env!("CARGO_BIN_EXE_realtime")), settings)
    }

    fn spawn(command: &mut Command, settings: &[(&str, &str)]) -> Self {
        command.env_clear().envs([("PORT", "0"), ("LOG_FORMAT", "json")]);
        command.envs(settings.iter().copied()).kill_on_drop(true).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log }
    }

    /// Where it listens, by its log.
    async fn address(&mut self, whom: &str) -> SocketAddr {
        let message = format!("listening for {whom}");
        soon(&message, async {
            loop {
                let line = self.log.next_line().await.unwrap().expect("it ended instead");
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                if line["message"] == message.as_str() {
                    return line["address"].as_str().unwrap().parse().unwrap();
                }
            }
        })
        .await
    }

    fn signal(&self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    }

    /// Its exit status and the rest of its log.
    async fn end(mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        let ending = async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                log.push_str(&line);
                log.push('\n');
            }
            self.child.wait().await.unwrap()
        };
        (soon("the end", ending).await, log)
    }
}

async fn connect(address: SocketAddr) -> WebSocketStream<TcpStream> {
    try_connect(address).await.unwrap()
}

async fn try_connect(address: SocketAddr) -> Result<WebSocketStream<TcpStream>, Error> {
    let stream = TcpStream::connect(address).await.unwrap();
    let upgrading = tokio_tungstenite::client_async(format!("ws://{address}/ws"), stream);
    soon("the upgrade", upgrading).await.map(|(socket, _)| socket)
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn sigterm_sends_clients_away_with_1012_and_ends_with_code_0() {
    let mut process = Process::start(&[("DRAIN_DELAY", "0")]);
    let mut client = connect(process.address("clients").await).await;
    client.send(Message::text("a secret")).await.unwrap();
    assert_eq!(soon("the echo", client.next()).await.unwrap().unwrap(), Message::text("a secret"));
    process.signal();
    let Message::Close(Some(frame)) = soon("the close", client.next()).await.unwrap().unwrap()
    else {
        panic!("a Close was expected");
    };
    assert_eq!(u16::from(frame.code), 1012);
    // Reading on answers the Close; who is late finds the stream cut.
    assert!(matches!(soon("the end", client.next()).await, None | Some(Err(_))));
    let (status, log) = process.end().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let closed = log.lines().find(|line| line.contains("socket closed")).expect("a line a close");
    let closed: serde_json::Value = serde_json::from_str(closed).unwrap();
    assert_eq!((&closed["code"], &closed["reason"]), (&1012.into(), &"restart".into()));
    assert!(closed["duration_ms"].is_number(), "{closed}");
    assert!(!log.contains("a secret"), "{log}");
}

#[tokio::test]
async fn a_second_signal_ends_at_once_with_code_0() {
    let mut process = Process::start(&[("DRAIN_DELAY", "1h")]);
    let address = process.address("clients").await;
    let _client = connect(address).await;
    process.signal();
    let readiness = async { while get(address, "/health/ready").await.contains(" 200 ") {} };
    soon("failing readiness", readiness).await;
    process.signal();
    let (status, log) = process.end().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test]
async fn an_admin_port_has_health_and_metrics_to_itself_and_answers_while_full_and_draining() {
    let settings = [("ADMIN_PORT", "0"), ("MAX_CONNECTIONS", "1"), ("DRAIN_DELAY", "1h")];
    let mut process = Process::start(&settings);
    let clients = process.address("clients").await;
    let admin = process.address("admin").await;
    let _client = connect(clients).await;
    assert!(get(clients, "/metrics").await.starts_with("HTTP/1.1 503 "));
    // Counted just after the 101 has gone out.
    let line = "\nkeywire_connections 1\n";
    let counted = async { while !get(admin, "/metrics").await.contains(line) {} };
    soon("the socket in the metrics", counted).await;
    assert!(get(admin, "/health/ready").await.starts_with("HTTP/1.1 200 "));
    assert!(get(admin, "/ws").await.starts_with("HTTP/1.1 404 "));
    process.signal();
    let readiness = async { while !get(admin, "/health/ready").await.contains(" 503 ") {} };
    soon("failing readiness", readiness).await;
    assert!(get(admin, "/health/live").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn out_of_files_it_refuses_new_connections_and_serves_on_when_there_are_some() {
    // A hard limit, which the process cannot raise again.
    let settings = [("MAX_CONNECTIONS", "off"), ("FIRST_BYTE_TIMEOUT", "1h"), ("SHARDS", "1")];
    let mut process = Process::spawn(
        Command::new("sh").args([
            "-c",
            "ulimit -n 64; exec \"$0\"",
            env!("CARGO_BIN_EXE_realtime"),
        ]),
        &settings,
    );
    let address = process.address("clients").await;
    let mut mute = Vec::new();
    for _ in 0..100 {
        // The kernel completes them, accepted or not.
        mute.push(TcpStream::connect(address).await.unwrap());
    }
    soon("running out", async {
        while !process.log.next_line().await.unwrap().unwrap().contains("could not be accepted") {}
    })
    .await;
    // Nobody hangs: whoever finds no file left is told, and is not reset for the request it has sent.
    let mut answer = String::new();
    let mut last = mute.pop().unwrap();
    let request =
        format!("GET /health/live HTTP/1.1\r\nHost: {address}\r\nX: {}\r\n\r\n", "x".repeat(4_000));
    last.write_all(request.as_bytes()).await.unwrap();
    soon("the refusal", last.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 5"), "{answer}");
    drop(mute);
    // It has to notice that they have gone.
    let mut client = soon("files given back", async {
        loop {
            if let Ok(client) = try_connect(address).await {
                return client;
            }
        }
    })
    .await;
    client.send(Message::text("still here")).await.unwrap();
    let heard = soon("the echo", client.next()).await.unwrap().unwrap();
    assert_eq!(heard, Message::text("still here"));
}

#[tokio::test]
async fn all_wrong_settings_are_reported_together_and_end_it_with_code_1() {
    let settings = [
        ("PORT", "many"),
        ("PING_INTERVAL", "0"),
        ("QUEUE_BYTES", "1 KiB"),
        ("REALTIME_PLAIN", "auth"),
        ("REDIS_URL", "http://secret@host"),
    ];
    let (status, log) = Process::start(&settings).end().await;
    assert_eq!(status.code(), Some(1), "{log}");
    for name in ["PORT: ", "PING_INTERVAL", "QUEUE_BYTES", "DATABASE_URL", "REDIS_URL: "] {
        assert!(log.contains(name), "{name}: {log}");
    }
    assert!(!log.contains("secret"), "{log}");
}

#[tokio::test]
async fn a_taken_port_is_said_so_with_code_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (status, log) = Process::start(&[("PORT", &port)]).end().await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains(&format!("127.0.0.1 port {port} cannot be used")), "{log}");
}

#[tokio::test]
async fn help_says_what_it_is_and_unknown_arguments_end_it_with_code_2() {
    for (arguments, code) in
        [(&["--help"][..], 0), (&["-h"], 0), (&["--port", "1"], 2), (&["-h", "x"], 2)]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_realtime"));
        let output = command.args(arguments).env_clear().kill_on_drop(true).output();
        let output = soon("its end", output).await.unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let (said, silent) =
            if code == 0 { (output.stdout, output.stderr) } else { (output.stderr, output.stdout) };
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("docs/configuration.md") && silent.is_empty(), "{said}");
        assert_eq!(said.starts_with("error: unknown argument"), code == 2, "{said}");
    }
}
