//! Postgres silent or killed under load: sign-in says so in time, broadcast goes on, all heals.

mod crowd;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use local::postgres::{Cluster, Postgres};
use rustix::process::{Pid, Signal, kill_process};
use shared::db::{MIGRATOR, roles};
use sqlx::{Connection, PgConnection};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::app::{TestApp, credentials};
use crate::database::TestDatabase;
use crate::run::cluster::cluster;
use crate::run::open_dir;

/// No answer may take longer, whatever Postgres does.
const IN_TIME: Duration = Duration::from_secs(5);
/// Longer than a restart takes on a busy machine.
const HEALED: Duration = Duration::from_secs(30);
/// The load: so many sign-ins at a time, each sender no more than so many in all.
const SENDERS: usize = 16;
const MOST_ATTEMPTS: usize = 5_000;

#[tokio::test]
async fn a_silent_postgres_is_a_503_in_time_and_heals() {
    let dir = open_dir();
    let (postgres, app) = start(dir.path()).await;
    let mut socket = connect(&app).await;
    let noticed = Notify::new();
    let ended = AtomicBool::new(false);
    let load = load(&app, &ended, &noticed);
    let trouble = async {
        let stopped = stop(postgres.pid().unwrap());
        // A whole time-out, after which broadcast still goes on.
        assert_eq!(attempt(&app).await, StatusCode::SERVICE_UNAVAILABLE);
        echo(&mut socket, "while Postgres is silent").await;
        timeout(HEALED, noticed.notified()).await.expect("the load noticed nothing");
        signal_all(&stopped, Signal::CONT);
        heal(&app).await;
        ended.store(true, Ordering::Relaxed);
    };
    tokio::join!(trouble, load);
    echo(&mut socket, "after it").await;
}

#[tokio::test]
async fn a_killed_postgres_comes_back_under_load() {
    let dir = open_dir();
    let (postgres, app) = start(dir.path()).await;
    let mut socket = connect(&app).await;
    let ended = AtomicBool::new(false);
    let noticed = Notify::new();
    let load = load(&app, &ended, &noticed);
    let trouble = async {
        let before = postgres.pid().unwrap();
        signal(before, Signal::KILL);
        echo(&mut socket, "while Postgres is away").await;
        let deadline = Instant::now() + HEALED;
        while postgres.pid().is_none_or(|pid| pid == before) {
            assert!(Instant::now() < deadline, "Postgres was not restarted");
            tokio::task::yield_now().await;
        }
        heal(&app).await;
        ended.store(true, Ordering::Relaxed);
    };
    tokio::join!(trouble, load);
    assert_eq!(app.login("ann", "password123").await.status, StatusCode::OK);
    echo(&mut socket, "after it").await;
}

/// A cluster of its own, migrated, and the owner's connection.
async fn migrated(dir: &Path) -> (Cluster, Postgres, PgConnection) {
    let cluster = cluster(dir).await;
    let postgres = Postgres::start(cluster.clone()).await.unwrap();
    let mut owner = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    roles::create(&mut owner).await.unwrap();
    MIGRATOR.run(&mut owner).await.unwrap();
    (cluster, postgres, owner)
}

/// An app on a cluster of its own, with one user.
async fn start(dir: &Path) -> (Postgres, TestApp) {
    let (cluster, postgres, _) = migrated(dir).await;
    let settings = [
        ("LIMIT_LOGIN_ADDRESS", "off"),
        ("LOCK_AFTER", "off"),
        ("LOCK_STOP", "off"),
        // Half of the default, which leaves a busy machine four seconds of five.
        ("DATABASE_TIMEOUT", "1s"),
        // The senders wait for the one thread nearly all the time.
        ("BCRYPT_COST", "8"),
        ("BCRYPT_THREADS", "1"),
        ("BCRYPT_WAIT", "2s"),
    ];
    let app = TestApp::on_database(TestDatabase::kept(cluster.url("postgres")), &settings).await;
    app.user("ann").await;
    (postgres, app)
}

/// Signs in without end, from many senders at once, and tells whenever that was refused.
async fn load(app: &TestApp, ended: &AtomicBool, noticed: &Notify) {
    let sender = async || {
        for _ in 0..MOST_ATTEMPTS {
            if ended.load(Ordering::Relaxed) {
                break;
            }
            if attempt(app).await == StatusCode::SERVICE_UNAVAILABLE {
                noticed.notify_one();
            }
        }
    };
    join_all((0..SENDERS).map(|_| sender())).await;
}

/// A sign-in that must be answered in time, and with nothing but 401 or 503.
async fn attempt(app: &TestApp) -> StatusCode {
    let began = Instant::now();
    let answer = app.post("/login", credentials("nobody", "password")).await;
    assert!(began.elapsed() < IN_TIME, "took {:?}: {answer:?}", began.elapsed());
    match answer.status {
        StatusCode::SERVICE_UNAVAILABLE => {
            answer.assert_problem(503, "unavailable");
            assert!(answer.headers.contains_key("retry-after"));
        }
        _ => {
            answer.assert_problem(401, "invalid_credentials");
        }
    }
    answer.status
}

/// Tries until a sign-in is judged again.
async fn heal(app: &TestApp) {
    let deadline = Instant::now() + HEALED;
    while attempt(app).await != StatusCode::UNAUTHORIZED {
        assert!(Instant::now() < deadline, "not healed");
    }
}

async fn connect(app: &TestApp) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(app.address).await.unwrap();
    client_async(format!("ws://localhost:{}/ws", app.address.port()), stream).await.unwrap().0
}

/// Sends a text and waits until it comes back.
async fn echo(socket: &mut WebSocketStream<TcpStream>, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
    let back = timeout(IN_TIME, socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(back, Message::text(text));
}

/// Stops the server and its children, each of which is a session of its own. The server goes first,
/// so that it cannot make one more child that would answer.
fn stop(server: u32) -> Vec<u32> {
    signal(server, Signal::STOP);
    let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
    let children: Vec<u32> =
        children.unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    signal_all(&children, Signal::STOP);
    [vec![server], children].concat()
}

fn signal_all(pids: &[u32], signal: Signal) {
    for pid in pids {
        self::signal(*pid, signal);
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    // A backend may have ended by itself since it was listed.
    let sent = kill_process(pid, signal);
    assert!(matches!(sent, Ok(()) | Err(rustix::io::Errno::SRCH)), "{sent:?}");
}
