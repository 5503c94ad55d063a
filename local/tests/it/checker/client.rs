//! A client that publishes, subscribes, resumes, reads slowly and breaks off at random, and writes down
//! what it did and saw.

mod acts;
mod heard;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::history::{Event, History};

/// How long a handshake or a write may take; a client would give up then, too.
const GIVE_UP: Duration = Duration::from_secs(5);

/// What all clients do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Whatever comes to their minds.
    Random,
    /// They subscribe to all rooms, and send again what has no outcome.
    Settle,
    /// They end when they have these places.
    Until(BTreeMap<String, u64>),
    /// They end at once: it took too long.
    Over,
}

/// What happened, of all clients together.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    /// Connections.
    pub(super) connections: usize,
    /// Subscriptions with `since`.
    pub(super) resumed: usize,
    /// Publishes sent again.
    pub(super) again: usize,
    /// Acknowledged publishes that were there before.
    pub(super) duplicates: usize,
    /// Publishes answered that their outcome is not known.
    pub(super) unknown: usize,
    /// Renewals of the token.
    pub(super) renewed: usize,
}

impl Counts {
    /// Those of another client, too.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            resumed: self.resumed + other.resumed,
            again: self.again + other.again,
            duplicates: self.duplicates + other.duplicates,
            unknown: self.unknown + other.unknown,
            renewed: self.renewed + other.renewed,
        }
    }
}

/// One client.
pub(super) struct Client {
    address: SocketAddr,
    /// Access tokens of its user.
    tokens: Vec<String>,
    rooms: Vec<String>,
    random: StdRng,
    phases: watch::Receiver<Phase>,
    /// Tells that nothing is open any more.
    settled: watch::Sender<bool>,
    history: History,
    counts: Counts,
    /// The epoch and the last place of each room that it has ever followed.
    at: BTreeMap<String, (String, u64)>,
    /// What has no outcome, in the order in which it was first sent.
    open: Vec<Open>,
    /// Rooms it is subscribed to on this connection.
    live: BTreeSet<String>,
    /// Commands of this connection that have no reply.
    pending: HashMap<u64, (Instant, Pending)>,
    next_id: u64,
}

/// A message without an outcome.
struct Open {
    room: String,
    key: String,
    text: String,
    /// Whether it is under way on this connection.
    is_sent: bool,
}

/// What a reply is about.
enum Pending {
    Publish(String),
    Subscribe(String, Option<(String, u64)>),
    Unsubscribe(String),
    Auth,
    Ping,
}

/// The connection is no longer there, or no longer good.
struct Broken;

type Socket = WebSocketStream<TcpStream>;

impl Client {
    /// A client of this user's that has done nothing; and what tells that it has settled.
    pub(super) fn new(
        address: SocketAddr,
        (user, tokens): (String, Vec<String>),
        rooms: &[String],
        random: StdRng,
        phases: watch::Receiver<Phase>,
    ) -> (Self, watch::Receiver<bool>) {
        let (settled, is_settled) = watch::channel(false);
        let client = Self {
            address,
            tokens,
            rooms: rooms.to_vec(),
            random,
            phases,
            settled,
            history: History { user, events: Vec::new() },
            counts: Counts::default(),
            at: BTreeMap::new(),
            open: Vec::new(),
            live: BTreeSet::new(),
            pending: HashMap::new(),
            next_id: 1,
        };
        (client, is_settled)
    }

    /// Lives until the phases say that it has done; what it did and saw.
    pub(super) async fn run(mut self) -> (History, Counts) {
        while !self.is_done() {
            if let Ok(socket) = self.connect().await {
                self.connected();
                // However it ended: it comes back.
                self.session(socket).await.ok();
            } else {
                let pause = self.random.random_range(20..150);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
        (self.history, self.counts)
    }

    fn is_done(&self) -> bool {
        match &*self.phases.borrow() {
            Phase::Random | Phase::Settle => false,
            Phase::Until(places) => places.iter().all(|(room, place)| {
                self.live.contains(room) && self.at.get(room).is_some_and(|at| at.1 >= *place)
            }),
            Phase::Over => true,
        }
    }

    async fn connect(&mut self) -> Result<Socket, Broken> {
        let token = &self.tokens[self.random.random_range(0..self.tokens.len())];
        let mut request = format!("ws://{}/ws", self.address).into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", "keywire.v1".parse().unwrap());
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let socket = TcpSocket::new_v4().unwrap();
        // So that not reading is soon felt.
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let connecting = async {
            let stream = socket.connect(self.address).await.ok()?;
            Some(tokio_tungstenite::client_async(request, stream).await.ok()?.0)
        };
        timeout(GIVE_UP, connecting).await.ok().flatten().ok_or(Broken)
    }

    fn connected(&mut self) {
        self.counts.connections += 1;
        self.history.events.push(Event::Connected);
        self.live.clear();
        self.pending.clear();
        for open in &mut self.open {
            open.is_sent = false;
        }
    }

    /// One connection, to its end.
    async fn session(&mut self, mut socket: Socket) -> Result<(), Broken> {
        // Less than the longest outcome takes, now and then.
        let patience = Duration::from_millis(self.random.random_range(2_000..14_000));
        self.send_open(&mut socket).await?;
        while !self.is_done() {
            if *self.phases.borrow() == Phase::Random {
                self.act(&mut socket).await?;
            } else {
                self.settle(&mut socket).await?;
            }
            let until = Instant::now() + Duration::from_millis(self.random.random_range(2..120));
            while let Ok(message) = timeout_at(until.into(), socket.next()).await {
                match message {
                    Some(Ok(Message::Text(text))) => self.hear(&text),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(close))) => return self.closed(close.as_ref()),
                    _ => return Err(Broken),
                }
            }
            if self.pending.values().any(|(since, _)| since.elapsed() > patience) {
                return Err(Broken);
            }
        }
        Ok(())
    }

    /// The node ended the connection, which it does only when it could not ask who this is.
    fn closed(&mut self, close: Option<&CloseFrame>) -> Result<(), Broken> {
        if close.is_none_or(|close| u16::from(close.code) != 1013) {
            self.history.events.push(Event::Refused(format!("closed: {close:?}")));
        }
        Err(Broken)
    }

    async fn send(
        &mut self,
        socket: &mut Socket,
        mut command: Value,
        about: Pending,
    ) -> Result<(), Broken> {
        let id = self.next_id;
        self.next_id += 1;
        command["id"] = json!(id);
        self.pending.insert(id, (Instant::now(), about));
        let sending = socket.send(Message::text(command.to_string()));
        timeout(GIVE_UP, sending).await.map_err(|_| Broken)?.map_err(|_| Broken)
    }
}
