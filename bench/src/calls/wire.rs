//! An HTTP/1.1 client that costs little: what it takes of the cores, the server cannot have.
//!
//! A request is one write, its answer as a rule one read. Only what Keywire's routes answer is understood:
//! a head of at most [`HEAD_FIELDS`] fields, and a body of a length said in it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(30);

/// Fields of a head.
const HEAD_FIELDS: usize = 32;

/// Bytes of an answer.
const ANSWER_BYTES: usize = 16 * 1024;

/// A kept-alive connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    /// What was read of the answer.
    answer: Vec<u8>,
    port: u16,
}

/// An answer's place in what was read.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    status: u16,
    body: usize,
    end: usize,
}

impl Wire {
    /// Connects to this machine.
    ///
    /// # Errors
    /// If nobody listens there.
    pub(super) async fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Vec::with_capacity(ANSWER_BYTES), port })
    }

    /// A request for it: `GET /me` as the line, further fields each with their line's end, and a body.
    pub(super) fn request(&self, line: &str, fields: &str, body: &str) -> Vec<u8> {
        let (port, length) = (self.port, body.len());
        let length =
            if body.is_empty() { String::new() } else { format!("content-length: {length}\r\n") };
        format!("{line} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{fields}{length}\r\n{body}")
            .into_bytes()
    }

    /// The body of the 200 that a request is answered with, and how long it took.
    ///
    /// # Errors
    /// If it is not answered so, or not in time.
    pub(super) async fn call(&mut self, request: &[u8]) -> anyhow::Result<(&[u8], Duration)> {
        let start = Instant::now();
        let found = timeout(LIMIT, self.exchange(request)).await.context("no answer in time")??;
        let took = start.elapsed();
        let body = &self.answer[found.body..found.end];
        ensure!(
            found.status == 200,
            "{} instead of 200: {}",
            found.status,
            String::from_utf8_lossy(body)
        );
        Ok((body, took))
    }

    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Found> {
        self.answer.clear();
        self.stream.write_all(request).await?;
        loop {
            // Nothing is there yet: to try would be a system call for nothing.
            self.stream.readable().await?;
            let read = self.stream.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "the connection broke off");
            ensure!(self.answer.len() < ANSWER_BYTES, "an answer of over {ANSWER_BYTES} bytes");
            if let Some(found) = find(&self.answer)? {
                return Ok(found);
            }
        }
    }
}

/// Where the answer is, once all of it was read.
fn find(answer: &[u8]) -> anyhow::Result<Option<Found>> {
    let mut fields = [httparse::EMPTY_HEADER; HEAD_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(body) = head.parse(answer)? else { return Ok(None) };
    let length =
        head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length: usize =
        std::str::from_utf8(length.context("an answer without a length")?.value)?.parse()?;
    let status = head.code.context("an answer without a status")?;
    let end = body.checked_add(length).context("a length beyond counting")?;
    Ok((answer.len() >= end).then_some(Found { status, body, end }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_when_all_of_it_was_read() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        for cut in 0..whole.len() {
            assert_eq!(find(&whole[..cut]).unwrap(), None, "{cut}");
        }
        let body = whole.len() - 2;
        assert_eq!(find(whole).unwrap(), Some(Found { status: 200, body, end: whole.len() }));
        assert!(find(b"HTTP/1.1 200 OK\r\n\r\n{}").is_err(), "no length");
    }
}
