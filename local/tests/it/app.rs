//! A whole service for one test: its own database, its own keys, a port of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use bytes::Bytes;
use functions::courier::Courier;
use http::response::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use serde_json::{Value, json};
use shared::access_token::Verifier;
use shared::clock::Clock;
use shared::db::{self, Database, users};
use shared::front::Front;
use shared::mail::Captured;
use shared::mail::captured::CapturedMail;
use shared::password::Passwords;
use shared::role::Role;
use shared::second_factor::Vault;
use shared::secrets::Keys;
use shared::settings::{self, Reader};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::net::{TcpListener, TcpSocket};

use crate::database::TestDatabase;

/// Settings of every test, before its own.
///
/// On a machine that is busy with other tests, a statement may wait its turn for seconds.
const DEFAULTS: [(&str, &str); 5] = [
    ("BCRYPT_COST", "4"),
    ("PING_INTERVAL", "60s"),
    ("DATABASE_TIMEOUT", "20s"),
    ("DATABASE_POOL", "4"),
    // Nothing outlives the tests' Postgres.
    ("LOG_DURABLE", "off"),
];

/// The functions and a node, serving.
pub(crate) struct TestApp {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The owner's connections, for looking behind the scenes.
    pub(crate) owner: PgPool,
    /// The app's clock, to be moved.
    pub(crate) clock: Clock,
    /// The app's keys.
    pub(crate) keys: Keys,
    /// The app's hashing, whose rounds are counted.
    pub(crate) passwords: Passwords,
    /// What signs the app's tokens.
    pub(crate) tokens: functions::TokenKeys,
    /// Verifies the app's tokens.
    pub(crate) verifier: Verifier,
    /// Sends the app's mails when a test lets it; to [`TestApp::captured`], or to `SMTP_URL`.
    pub(crate) courier: Courier,
    /// The mails it sent.
    pub(crate) captured: Captured,
    /// The node.
    pub(crate) node: realtime::Node,
    /// What the app serves from.
    pub(crate) db: Database,
    /// Dropped last, with its database.
    database: TestDatabase,
}

/// A response, read whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body, `Null` when it is not JSON.
    pub(crate) body: Value,
}

/// What a sign-in gives.
#[derive(Debug, Clone)]
pub(crate) struct SignedIn {
    /// The access token.
    pub(crate) access: String,
    /// The refresh token.
    pub(crate) refresh: String,
}

impl TestApp {
    /// With the defaults.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With these settings beside the defaults.
    pub(crate) async fn with(pairs: &[(&str, &str)]) -> Self {
        Self::on_database(TestDatabase::create().await, pairs).await
    }

    /// On a database that is migrated and empty.
    pub(crate) async fn on_database(database: TestDatabase, pairs: &[(&str, &str)]) -> Self {
        let owner = PgPoolOptions::new().max_connections(2).connect(&database.url).await.unwrap();
        let keys = Keys::generate(Clock::System.now()).unwrap();
        assert!(db::signing_keys::register_first(&owner, &keys.signing).await.unwrap());
        Self::on(database, owner, keys, Clock::held(), pairs).await
    }

    /// A further instance of this app: same database, keys and clock, its own pool and port.
    pub(crate) async fn another(&self, pairs: &[(&str, &str)]) -> Self {
        let (database, keys) = (self.database.share(), self.keys.clone());
        Self::on(database, self.owner.clone(), keys, self.clock.clone(), pairs).await
    }

    async fn on(
        database: TestDatabase,
        owner: PgPool,
        keys: Keys,
        clock: Clock,
        pairs: &[(&str, &str)],
    ) -> Self {
        let mut reader = Reader::from_pairs(DEFAULTS.iter().chain(pairs).copied());
        let platform = functions::settings::Platform::Process;
        let settings = functions::settings::Settings::read(&mut reader, platform);
        let url = SecretString::from(database.url.clone());
        let db = Database::new(&settings::Database::at(url, &mut reader), Some(db::SERVING_ROLE));
        let node = realtime::Settings::read(&mut reader, realtime::Process::Local);
        reader.finish().unwrap();
        let (db, front) = (db.unwrap(), Front::new(settings.http.clone()));
        let verifier = Verifier::new(db.clone(), settings.tokens.clone());
        let auth = realtime::Auth::new(db.clone(), settings.tokens.clone(), clock.clone());
        let app = functions::App::new(db.clone(), clock.clone(), settings);
        let passwords = app.passwords(keys.pepper.clone());
        let vault = Vault::new(&keys.pepper).unwrap();
        let tokens = functions::TokenKeys::new(&app, keys.signing.clone()).unwrap();
        let node = realtime::Node::start(node, Arc::clone(&front), Some(auth)).unwrap();
        let captured = Captured::default();
        // Links lead somewhere also in tests of what there is without a public address.
        let mut settings = (*app.settings).clone();
        settings.http.public_url.get_or_insert("https://links.example".parse().unwrap());
        let mailing = functions::App { settings: Arc::new(settings), ..app.clone() };
        let courier = if mailing.settings.courier.smtp.is_some() {
            Courier::sending(&mailing, keys.links.clone()).unwrap()
        } else {
            Courier::capturing(&mailing, keys.links.clone(), captured.clone()).unwrap()
        };
        let routes = functions::router(&app, &passwords, &vault, &tokens, &keys.links);
        let routes = Router::new().nest("/api", routes.clone()).merge(routes);
        let routes = routes.merge(local::dev_mail::router(captured.clone()));
        let routes = front.layer(routes.merge(node.router()).merge(node.admin_router()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = node.clone();
        tokio::spawn(async move { realtime::serve(vec![listener], routes, &serving).await });
        Self {
            address,
            owner,
            clock,
            keys,
            passwords,
            tokens,
            verifier,
            courier,
            captured,
            node,
            db,
            database,
        }
    }

    /// The owner's URL of the app's database.
    pub(crate) fn database_url(&self) -> &str {
        &self.database.url
    }

    /// Posts JSON.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_from([127, 0, 0, 1], path, body).await
    }

    /// Posts JSON from another address of the loopback network.
    pub(crate) async fn post_from(&self, source: [u8; 4], path: &str, body: Value) -> Answer {
        let request = Request::post(path).header("content-type", "application/json");
        self.send_from(source, request.body(body.to_string().into()).unwrap()).await
    }

    /// Gets a path.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Bytes::new()).unwrap()).await
    }

    /// Gets a path whose body is no JSON.
    pub(crate) async fn text(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Bytes::new()).unwrap();
        let (parts, body) = self.exchange([127, 0, 0, 1], request).await;
        (parts.status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Sends a request as it is, with a Host header if it has none.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Answer {
        self.send_from([127, 0, 0, 1], request).await
    }

    async fn send_from(&self, source: [u8; 4], request: Request<Bytes>) -> Answer {
        let (parts, body) = self.exchange(source, request).await;
        let body = serde_json::from_slice(&body).unwrap_or_default();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn exchange(&self, source: [u8; 4], mut request: Request<Bytes>) -> (Parts, Bytes) {
        let host = format!("localhost:{}", self.address.port());
        request.headers_mut().entry("host").or_insert(host.parse().unwrap());
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let stream = TokioIo::new(socket.connect(self.address).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request.map(Full::new)).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        connection.abort();
        (parts, body)
    }

    /// Registers a user with password `password123`.
    pub(crate) async fn user(&self, name: &str) -> Answer {
        let answer = self.post("/register", credentials(name, "password123")).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer
    }

    /// Signs in.
    pub(crate) async fn login(&self, name: &str, password: &str) -> Answer {
        self.post("/login", credentials(name, password)).await
    }

    /// Signs in with the password of [`TestApp::user`].
    pub(crate) async fn sign_in(&self, name: &str) -> SignedIn {
        let answer = self.login(name, "password123").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let text = |name: &str| answer.body[name].as_str().unwrap().to_owned();
        SignedIn { access: text("access_token"), refresh: text("refresh_token") }
    }

    /// Makes the user an administrator, as `cargo dev grant-admin` does.
    pub(crate) async fn make_admin(&self, name: &str) {
        let granted = users::grant_role(&self.owner, name, Role::Admin, self.clock.now()).await;
        assert_eq!(granted.unwrap(), Some(true));
    }

    /// Calls a route with an access token, and JSON if there is any.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let mut request = request.header("authorization", format!("Bearer {token}"));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Lets the courier send what is due, and returns every mail so far.
    pub(crate) async fn mails(&self) -> Vec<CapturedMail> {
        self.courier.round().await.unwrap();
        self.captured.all()
    }

    /// A further connection of the owner's, for what waits while the others look on.
    pub(crate) async fn another_owner(&self) -> PgPool {
        PgPoolOptions::new().max_connections(1).connect(&self.database.url).await.unwrap()
    }

    /// Waits until a statement waits for a lock.
    pub(crate) async fn until_one_waits(&self) {
        let asked = "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
                                    WHERE NOT granted AND datname = current_database())";
        let deadline = Instant::now() + Duration::from_mins(1);
        while !sqlx::query_scalar::<_, bool>(asked).fetch_one(&self.owner).await.unwrap() {
            assert!(Instant::now() < deadline, "nobody waits");
            tokio::task::yield_now().await;
        }
    }

    /// A connection pool of the serving role's.
    pub(crate) async fn serving(&self) -> PgPool {
        let options: PgConnectOptions = self.database.url.parse().unwrap();
        let options = options.options([("role", db::SERVING_ROLE)]);
        PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap()
    }

    /// Makes an address a user's own, as a link would.
    pub(crate) async fn own(&self, name: &str, email: &str) {
        let own = "UPDATE users SET email = $2, email_key = lower($2) WHERE username = $1";
        sqlx::query(own).bind(name).bind(email).execute(&self.owner).await.unwrap();
    }

    /// Events of the audit log, oldest first.
    pub(crate) async fn audit(&self) -> Vec<String> {
        let events = sqlx::query_scalar("SELECT event FROM audit ORDER BY id");
        events.fetch_all(&self.owner).await.unwrap()
    }
}

impl Answer {
    /// The problem's code.
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("no code")
    }

    /// Asserts a problem in its whole shape (RFC 9457), and returns the answer.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status.as_u16(), self.code()), (status, code), "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], format!("urn:keywire:problem:{code}"));
        assert!(self.body["title"].is_string());
        assert_eq!(self.body["instance"], self.headers["x-request-id"].to_str().unwrap());
        self
    }

    /// `(pointer, code)` of each wrong field.
    pub(crate) fn field_errors(&self) -> Vec<(String, String)> {
        let errors = self.body["errors"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        errors.iter().map(|error| (text(&error["pointer"]), text(&error["code"]))).collect()
    }
}

/// The body of `/register` and `/login`.
pub(crate) fn credentials(name: &str, password: &str) -> Value {
    json!({ "username": name, "password": password })
}

/// A request of any method, for odd input.
pub(crate) fn request(
    method: Method,
    path: &str,
    kind: &str,
    body: impl Into<Bytes>,
) -> Request<Bytes> {
    let request = Request::builder().method(method).uri(path).header("content-type", kind);
    request.body(body.into()).unwrap()
}
