//! A node on a free port, and clients that talk to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use realtime::broker::memory::Bus;
use realtime::{Auth, Node, Process, Settings};
use shared::front::Front;
use shared::settings::{Http, Reader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// The longest wait for anything; reaching it fails the test.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// A node that listens.
pub(super) struct TestNode {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// The node.
    pub(super) node: Node,
}

/// A client's socket.
pub(crate) type Socket = WebSocketStream<TcpStream>;

/// Waits for something, but not for ever.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("{what} did not happen in {PATIENCE:?}"))
}

/// Asks again and again until the answer is yes.
pub(super) async fn until(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(what, asking).await;
}

impl TestNode {
    /// A node alone, with these settings.
    pub(super) async fn start(settings: &[(&str, &str)]) -> Self {
        Self::on(&Bus::default(), settings).await
    }

    /// A node that shares a bus with others.
    pub(super) async fn on(bus: &Bus, settings: &[(&str, &str)]) -> Self {
        let (settings, front) = read(settings);
        let node = Node::start_on(bus, settings, Arc::clone(&front), None).unwrap();
        Self::listen(node, &front).await
    }

    /// A node that relays by the Redis at this address.
    pub(super) async fn with_redis(url: &str, settings: &[(&str, &str)]) -> Self {
        let mut settings = settings.to_vec();
        settings.push(("REDIS_URL", url));
        let (settings, front) = read(&settings);
        let node = Node::start(settings, Arc::clone(&front), None).unwrap();
        Self::listen(node, &front).await
    }

    /// A node that asks for tokens.
    pub(super) async fn with_auth(auth: Auth) -> Self {
        let (settings, front) = read(&[("REALTIME_PLAIN", "auth")]);
        let node = Node::start(settings, Arc::clone(&front), Some(auth)).unwrap();
        Self::listen(node, &front).await
    }

    async fn listen(node: Node, front: &Arc<Front>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = front.layer(node.router().merge(node.admin_router()));
        let serving = node.clone();
        tokio::spawn(async move { realtime::serve(vec![listener], router, &serving).await });
        Self { address, node }
    }

    /// A connected client.
    pub(super) async fn connect(&self) -> Socket {
        self.connect_with(&[]).await.unwrap()
    }

    /// A client with further headers, or the node's refusal.
    pub(super) async fn connect_with(
        &self,
        headers: &[(&'static str, &str)],
    ) -> Result<Socket, Error> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.upgrade(stream, headers).await
    }

    /// A client whose receive buffer is small, so that not reading is soon felt.
    pub(super) async fn connect_narrow(&self) -> Socket {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        self.upgrade(stream, &[]).await.unwrap()
    }

    /// A client whose address is another of this machine's.
    pub(super) async fn connect_from(&self, ip: [u8; 4]) -> Result<Socket, Error> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((ip, 0).into()).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        self.upgrade(stream, &[]).await
    }

    /// The handshake on a stream of one's own.
    pub(super) async fn upgrade(
        &self,
        stream: TcpStream,
        headers: &[(&'static str, &str)],
    ) -> Result<Socket, Error> {
        let mut request = format!("ws://{}/ws", self.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let config = WebSocketConfig::default().read_buffer_size(4 * 1024);
        let connecting = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
        soon("the handshake", connecting).await.map(|(socket, _)| socket)
    }

    /// Sends raw bytes and reads until the node closes; at most [`PATIENCE`].
    pub(super) async fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset ends the answer as well as an orderly end does.
        let reading =
            async { while matches!(stream.read_buf(&mut answer).await, Ok(n) if n > 0) {} };
        soon("the answer's end", reading).await;
        answer
    }

    /// A GET's whole answer as text.
    pub(super) async fn get(&self, path: &str) -> String {
        let Self { address, .. } = self;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        String::from_utf8(self.exchange(request.as_bytes()).await).unwrap()
    }

    /// The value of a metric, label included; one that the node does not have fails the test.
    pub(super) async fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = line.unwrap_or_else(|| panic!("no metric {name} in\n{text}"));
        value.trim().parse().unwrap()
    }

    /// Waits until a metric is at least this.
    pub(super) async fn metric_reaches(&self, name: &str, at_least: u64) {
        until(name, async || self.metric(name).await >= at_least).await;
    }
}

/// The settings under test; whatever is not given is the local default.
pub(super) fn read(settings: &[(&str, &str)]) -> (Settings, Arc<Front>) {
    let mut reader = Reader::from_pairs(settings.iter().copied());
    let node = Settings::read(&mut reader, Process::Local);
    let front = Front::new(Http::read(&mut reader, "on"));
    reader.finish().unwrap();
    (node, front)
}

/// Sends a text.
pub(super) async fn say(socket: &mut Socket, text: &str) {
    soon("sending", socket.send(Message::text(text))).await.unwrap();
}

/// Sends bytes.
pub(super) async fn say_bytes(socket: &mut Socket, bytes: &[u8]) {
    soon("sending", socket.send(Message::binary(Bytes::copy_from_slice(bytes)))).await.unwrap();
}

/// The next text or binary message.
pub(crate) async fn hear(socket: &mut Socket) -> Message {
    let hearing = async {
        loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    };
    soon("a message", hearing).await
}

/// The next message, which is this text.
pub(super) async fn hears(socket: &mut Socket, text: &str) {
    assert_eq!(hear(socket).await, Message::text(text));
}

/// Reads rising numbers up to this one: what was said before a client came may have been under way to
/// its shard then.
pub(super) async fn hears_up_to(socket: &mut Socket, number: usize) {
    let mut last = None;
    while last != Some(number) {
        let next = hear(socket).await.into_text().unwrap().parse().unwrap();
        assert!(last < Some(next) && next <= number, "{next} after {last:?}");
        last = Some(next);
    }
}

/// Reads on until the node closes; the Close's frame, or `None` if the connection broke off.
pub(super) async fn closed(socket: &mut Socket) -> Option<CloseFrame> {
    let reading = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(frame))) => return frame,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    };
    soon("the close", reading).await
}

/// Reads on until the node closes with a Close; its number.
pub(super) async fn close_code(socket: &mut Socket) -> u16 {
    closed(socket).await.expect("a Close was expected, not a cut").code.into()
}
