//! One request over HTTP/1.0, which no server answers in chunks.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Longer than anything takes here on a busy machine, a build by `cargo lambda watch` included.
pub(crate) const LONG: Duration = Duration::from_mins(5);
/// Between two tries to reach a server that is starting.
const PAUSE: Duration = Duration::from_millis(20);

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The head as it came, in lower case.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }
}

/// Sends one request and reads the whole answer. `head` is the request line without the version,
/// then any headers.
pub(crate) async fn send(to: SocketAddr, head: &[&str], body: &str) -> Answer {
    let (line, headers) = head.split_first().unwrap();
    let line = format!("{line} HTTP/1.0");
    let (host, length) = (format!("Host: {to}"), format!("Content-Length: {}", body.len()));
    let lines = [&[line.as_str(), &host, &length], headers].concat();
    let request = format!("{}\r\n\r\n{body}", lines.join("\r\n"));
    let work = async {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(LONG, work).await.expect("no answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

/// An address that nothing listens on.
pub(crate) fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits until something listens there, or `alive` says that it never will.
pub(crate) async fn listens(at: SocketAddr, mut alive: impl FnMut() -> bool) -> bool {
    let wait = async {
        while TcpStream::connect(at).await.is_err() {
            if !alive() {
                return false;
            }
            sleep(PAUSE).await;
        }
        true
    };
    timeout(LONG, wait).await.expect("nothing listens")
}
