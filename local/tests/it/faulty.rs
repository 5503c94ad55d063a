//! A way to a server that delays, holds, cuts in the middle of a piece and loses answers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

/// What is passed on at once at most: a stream's pieces end anywhere in a message.
const PIECE: usize = 4 << 10;

/// How pieces are treated now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mood {
    /// Each piece is kept back for a random time up to this.
    pub(crate) delay: Duration,
    /// Of a thousand pieces so many end their connection, with only a part passed on.
    pub(crate) cut: u32,
    /// Whether nothing that clients say passes.
    pub(crate) holds_requests: bool,
    /// Whether nothing that the server says passes.
    pub(crate) holds_answers: bool,
}

impl Mood {
    /// Nothing passes, in either direction.
    pub(crate) fn stalled(self) -> Self {
        Self { holds_requests: true, holds_answers: true, ..self }
    }
}

/// Passes on what clients and a server say, as its mood is.
pub(crate) struct Faulty {
    mood: watch::Sender<Mood>,
    /// Counts the times that all connections were cut.
    cuts: watch::Sender<u32>,
    /// Where the server is, if it is reached by TCP.
    server: watch::Sender<SocketAddr>,
    dir: Option<TempDir>,
}

impl Faulty {
    fn new(dir: Option<TempDir>) -> Self {
        let nowhere = (Ipv4Addr::LOCALHOST, 0).into();
        Self {
            mood: watch::Sender::default(),
            cuts: watch::Sender::default(),
            server: watch::Sender::new(nowhere),
            dir,
        }
    }

    /// Before a server reached by TCP, of which [`Self::leads_to`] tells; and where clients connect.
    pub(crate) async fn tcp(seed: u64) -> (Self, SocketAddr) {
        let faulty = Self::new(None);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (server, mut passing) = (faulty.server.subscribe(), faulty.passing(seed));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let at = *server.borrow();
                // A server that is away takes nobody.
                let Ok(server) = TcpStream::connect(at).await else { continue };
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                }
                passing.begin(client, server);
            }
        });
        (faulty, address)
    }

    /// Before the Postgres at this address; and the address to use instead.
    pub(crate) fn postgres(url: &str, seed: u64) -> (Self, String) {
        let server: PgConnectOptions = url.parse().unwrap();
        let socket = server.get_socket().expect("the tests' server has a socket");
        let name = format!(".s.PGSQL.{}", server.get_port());
        let target = socket.join(&name);
        let dir = crate::run::open_dir();
        let listener = UnixListener::bind(dir.path().join(&name)).unwrap();
        let url = server.socket(dir.path()).to_url_lossy().to_string();
        let faulty = Self::new(Some(dir));
        let mut passing = faulty.passing(seed);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = UnixStream::connect(&target).await else { continue };
                passing.begin(client, server);
            }
        });
        (faulty, url)
    }

    /// Where the server is from now on.
    pub(crate) fn leads_to(&self, port: u16) {
        self.server.send_replace((Ipv4Addr::LOCALHOST, port).into());
    }

    /// Treats pieces so from now on.
    pub(crate) fn is(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Ends all connections that there are; what was held is lost.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    fn passing(&self, seed: u64) -> Passing {
        let random = StdRng::seed_from_u64(seed);
        Passing { mood: self.mood.subscribe(), cuts: self.cuts.subscribe(), random }
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        // Whoever still listens for connections finds the server gone.
        drop(self.dir.take());
    }
}

/// What each connection is given.
struct Passing {
    mood: watch::Receiver<Mood>,
    cuts: watch::Receiver<u32>,
    random: StdRng,
}

impl Passing {
    fn begin(
        &mut self,
        client: impl AsyncRead + AsyncWrite + Send + 'static,
        server: impl AsyncRead + AsyncWrite + Send + 'static,
    ) {
        let (from_client, to_client) = tokio::io::split(client);
        let (from_server, to_server) = tokio::io::split(server);
        let mut random = || StdRng::seed_from_u64(self.random.random());
        let asking = pass(from_client, to_server, Mood::held_requests, self.mood.clone(), random());
        let answering =
            pass(from_server, to_client, Mood::held_answers, self.mood.clone(), random());
        let mut cuts = self.cuts.clone();
        cuts.mark_unchanged();
        tokio::spawn(async move {
            tokio::select! {
                // First: an answer that may go from now on, too, is lost.
                biased;
                _ = cuts.changed() => {}
                // Either end of it ends the connection, and a failure is the end.
                _ = asking => {}
                _ = answering => {}
            }
        });
    }
}

impl Mood {
    fn held_requests(&self) -> bool {
        self.holds_requests
    }

    fn held_answers(&self) -> bool {
        self.holds_answers
    }
}

/// Passes one direction on until it ends.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    is_held: fn(&Mood) -> bool,
    mut mood: watch::Receiver<Mood>,
    mut random: StdRng,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        let held = mood.wait_for(|mood| !is_held(mood)).await;
        let Mood { delay, cut, .. } = *held.map_err(io::Error::other)?;
        if !delay.is_zero() {
            tokio::time::sleep(delay.mul_f64(random.random())).await;
        }
        if random.random_ratio(cut, 1_000) {
            to.write_all(&piece[..random.random_range(0..read)]).await?;
            return to.flush().await;
        }
        to.write_all(&piece[..read]).await?;
    }
}
