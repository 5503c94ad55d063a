//! The opening handshake (RFC 6455 §4) as bytes.

use anyhow::{Context as _, ensure};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Every client's key: what it guards against, an answer from a cache, is no danger here.
const KEY: &str = "a2V5d2lyZS1iZW5jaC0wMQ==";

/// The largest answer.
const LARGEST: usize = 16 << 10;

/// The request, and what its answer must hold.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// The bytes to send.
    pub(crate) request: Vec<u8>,
    accept: String,
}

impl Upgrade {
    /// For a host and path, with further header lines such as `Authorization: Bearer …`.
    pub(crate) fn new(host: &str, path: &str, headers: &[String]) -> Self {
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
        );
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        Self { request: request.into_bytes(), accept: derive_accept_key(KEY.as_bytes()) }
    }

    /// Where the first frame begins, once the answer is whole.
    ///
    /// # Errors
    /// If the server refuses.
    pub(crate) fn accepted(&self, answer: &[u8]) -> anyhow::Result<Option<usize>> {
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
            ensure!(answer.len() < LARGEST, "the answer to the upgrade does not end");
            return Ok(None);
        };
        let answer = std::str::from_utf8(&answer[..end]).context("an answer that is no text")?;
        let status = answer.lines().next().unwrap_or_default();
        ensure!(status.starts_with("HTTP/1.1 101 "), "the server answered {status:?}");
        ensure!(answer.contains(&self.accept), "the server's accept key is wrong");
        Ok(Some(end + 4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_with_the_right_key_is_taken() {
        let upgrade = Upgrade::new("localhost:1", "/ws", &["X-One: 1".to_owned()]);
        assert!(upgrade.request.ends_with(b"\r\nX-One: 1\r\n\r\n"));
        let answer =
            format!("HTTP/1.1 101 Yes\r\nsec-websocket-accept: {}\r\n\r\n", upgrade.accept);
        assert_eq!(upgrade.accepted(&answer.as_bytes()[..answer.len() - 1]).unwrap(), None);
        assert_eq!(
            upgrade.accepted(format!("{answer}\x01").as_bytes()).unwrap(),
            Some(answer.len())
        );
        assert!(upgrade.accepted(b"HTTP/1.1 101 Yes\r\n\r\n").is_err());
        assert!(upgrade.accepted(answer.replace("101", "503").as_bytes()).is_err());
    }
}
