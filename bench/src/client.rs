//! An HTTP/1.1 client on one kept-alive connection, as fast as hyper allows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The longest wait for an answer; a login at cost 15 with a queue before it fits.
const LIMIT: Duration = Duration::from_secs(30);

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// Sends requests, one after another.
    sender: SendRequest<Full<Bytes>>,
    /// Drives the connection; ended with the client.
    driver: JoinHandle<()>,
    /// The `Host` header.
    host: String,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
    /// From before the request was sent until the body was read.
    pub(crate) took: Duration,
}

impl Client {
    /// Connects to this machine.
    ///
    /// # Errors
    /// If nobody listens there.
    pub(crate) async fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                crate::report::progress(&format!("a connection broke off: {error}"));
            }
        });
        Ok(Self { sender, driver, host: format!("127.0.0.1:{port}") })
    }

    /// Posts credentials.
    ///
    /// # Errors
    /// If the connection broke off or no answer came in time.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        name: &str,
        password: &str,
    ) -> anyhow::Result<Answer> {
        let body = json!({"username": name, "password": password}).to_string();
        let request = Request::post(path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body))?;
        timeout(LIMIT, self.send(request)).await.context("no answer in time")?
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        self.sender.ready().await?;
        let start = Instant::now();
        let (parts, body) = self.sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let took = start.elapsed();
        Ok(Answer { status: parts.status, headers: parts.headers, body, took })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Answer {
    /// Itself, if it has the status wanted.
    ///
    /// # Errors
    /// With the body, if it has another.
    pub(crate) fn expect(self, status: StatusCode) -> anyhow::Result<Self> {
        let body = String::from_utf8_lossy(&self.body);
        ensure!(self.status == status, "{} instead of {status}: {body}", self.status);
        Ok(self)
    }

    /// All that a client sees but for the time and the request's own id: the status, the headers in
    /// their order, and the body byte for byte with the id replaced.
    ///
    /// # Errors
    /// If the answer has no id, or is no text.
    pub(crate) fn seen(&self) -> anyhow::Result<Value> {
        let id = self.headers.get("x-request-id").context("an answer without an id")?.to_str()?;
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            let differs = name == "x-request-id" || name == header::DATE;
            headers.push((name.as_str(), if differs { "…" } else { value.to_str()? }));
        }
        let body = std::str::from_utf8(&self.body)?.replace(id, "…");
        Ok(json!({"status": self.status.as_u16(), "headers": headers, "body": body}))
    }
}
