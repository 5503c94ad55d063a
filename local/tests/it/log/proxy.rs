//! A way to the test's Postgres that can lose answers.

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// Passes on what clients and the server say, until it is told otherwise.
pub(super) struct Proxy {
    /// The address to connect to instead of the server's.
    pub(super) url: String,
    /// Whether answers are kept back.
    holds: watch::Sender<bool>,
    /// Counts the times that all connections were cut.
    cuts: watch::Sender<u32>,
    _dir: TempDir,
}

impl Proxy {
    /// Before the server at this address.
    pub(super) fn to(url: &str) -> Self {
        let server: PgConnectOptions = url.parse().unwrap();
        let socket = server.get_socket().expect("the tests' server has a socket");
        let name = format!(".s.PGSQL.{}", server.get_port());
        let target = socket.join(&name);
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(&name)).unwrap();
        let url = server.socket(dir.path()).to_url_lossy().to_string();
        let (holds, cuts) = (watch::Sender::new(false), watch::Sender::new(0));
        let (held, cut) = (holds.subscribe(), cuts.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = UnixStream::connect(&target).await else { return };
                let (held, mut cut) = (held.clone(), cut.clone());
                cut.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        // First: an answer that may go from now on, too, is lost.
                        biased;
                        _ = cut.changed() => {}
                        () = pass(client, server, held) => {}
                    }
                });
            }
        });
        Self { url, holds, cuts, _dir: dir }
    }

    /// Keeps answers back, or lets them go.
    pub(super) fn hold_answers(&self, held: bool) {
        self.holds.send_replace(held);
    }

    /// Ends all connections that there are; what was kept back is lost.
    pub(super) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn pass(client: UnixStream, server: UnixStream, mut held: watch::Receiver<bool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asking = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(|_| ()) };
    let answering = async {
        let mut answer = vec![0; 8 << 10];
        loop {
            let read = from_server.read(&mut answer).await?;
            if read == 0 || held.wait_for(|held| !held).await.is_err() {
                return Ok(());
            }
            to_client.write_all(&answer[..read]).await?;
        }
    };
    // Either end of it ends the connection.
    let ended: std::io::Result<()> = tokio::select! {
        ended = asking => ended,
        ended = answering => ended,
    };
    drop(ended);
}
