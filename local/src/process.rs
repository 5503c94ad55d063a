//! The local process: every function's router and the node, in one, from start to end.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use functions::courier::Courier;
use functions::keys::{check_pepper, check_signing};
use functions::{App, TokenKeys};
use shared::clock::Clock;
use shared::db::{Database, SERVING_ROLE};
use shared::front::Front;
use shared::mail::Captured;
use shared::second_factor::Vault;
use tokio::sync::oneshot;

use crate::banner::Banner;
use crate::keys::watch::Watch;
use crate::listen::{self, Listening};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::store::Store;
use crate::{dev_mail, home};

/// Runs it until a signal asks it to end.
///
/// # Errors
/// If it cannot start, or its Postgres ended and could not be restarted.
pub async fn run() -> anyhow::Result<ExitCode> {
    let settings = Settings::from_env()?;
    shared::telemetry::start(&settings.log).map_err(anyhow::Error::msg)?;
    // The one crypto provider, said explicitly: with a second one in the build rustls would not choose.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another crypto provider was installed before"))?;
    realtime::serve::raise_file_limit();
    let mut signals = Signals::new()?;
    let process = tokio::select! {
        process = Process::start(settings) => process?,
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    process.serve(&mut signals).await
}

/// Everything it holds while it runs.
#[derive(Debug)]
struct Process {
    /// The sockets.
    node: realtime::Node,
    /// All routes, behind the front.
    router: Router,
    /// Sends the mails.
    courier: Courier,
    /// The bound port.
    listening: Listening,
    /// Takes on rotated keys.
    watch: Watch,
    /// Serving connections.
    db: Database,
    /// The database itself.
    store: Store,
}

impl Process {
    /// Binds, opens the database, puts the parts together, says where it is.
    async fn start(settings: Settings) -> anyhow::Result<Self> {
        let progress = Progress::new();
        // Before the port is bound: a second copy should hear of the first, not move to a port of its own.
        let mut store = Store::open(&settings.store, &progress).await?;
        let listening = listen::bind(settings.port)?;
        let moved = listen::moved(settings.port, listening.port);
        store.say(&format!("on http://127.0.0.1:{}", listening.port))?;
        let mut database = settings.database;
        database.url = store.url.clone();
        let db = Database::new(&database, Some(SERVING_ROLE)).context("DATABASE_URL")?;
        let mut functions = settings.functions;
        let public = &mut functions.http.public_url;
        if public.is_none() {
            *public = Some(format!("http://localhost:{}", listening.port).parse()?);
        }
        for name in functions.limits_off() {
            tracing::warn!("{name} is off: nothing holds guessing back");
        }
        let mail = functions.courier.smtp.is_none();
        let front = Front::new(functions.http.clone());
        let auth = realtime::Auth::new(db.clone(), functions.tokens.clone(), Clock::System);
        realtime::log::check(&db, &settings.node.log).await?;
        let node = realtime::Node::start(settings.node, Arc::clone(&front), Some(auth))?;
        let app = App::new(db.clone(), Clock::System, functions);
        let tokens = TokenKeys::new(&app, store.keys.signing.clone())?;
        let (router, courier) = parts(&app, &tokens, &store, &node).await?;
        let router = front.layer(router);
        let watch = Watch {
            file: store.keys_file.clone(),
            every: settings.keys_file_interval,
            db: db.clone(),
            tokens,
        };
        drop(progress);
        let ipv6 = listening.listeners.len() > 1;
        let database = &store.description;
        Banner { port: listening.port, moved, ipv6, mail, database }.print()?;
        Ok(Self { node, router, courier, listening, watch, db, store })
    }

    /// Serves until a signal or until Postgres is given up, then lets everybody finish.
    async fn serve(self, signals: &mut Signals) -> anyhow::Result<ExitCode> {
        let Self { node, router, courier, listening, watch, db, mut store } = self;
        let (stop, stopped) = oneshot::channel::<()>();
        let sending = tokio::spawn(async move {
            // It ends with the sender, which says nothing.
            let stopped = async {
                stopped.await.ok();
            };
            courier.run(stopped).await;
        });
        let mut serving = Box::pin(realtime::serve(listening.listeners, router, &node));
        let end = tokio::select! {
            () = &mut serving => Err(anyhow::anyhow!("it stopped accepting connections")),
            _ = signals.next() => Ok(ExitCode::SUCCESS),
            why = store.given_up() => Err(anyhow::anyhow!(why)),
            () = node.failed() => Err(anyhow::anyhow!("a part of the node failed; the log says which")),
            () = watch.run() => Err(anyhow::anyhow!("it stopped looking at its keys")),
        };
        drop(stop);
        let drained = async { tokio::join!(node.drain(), serving, sending) };
        tokio::select! {
            _ = drained => {}
            // Asked a second time: whoever is still connected is cut.
            _ = signals.next() => {}
        }
        db.pool().close();
        store.stop().await;
        end
    }
}

/// The routes, which are the functions' at the root and under `/api`, the node's, and the pages; and the
/// courier, which sends to `SMTP_URL` or, without one, to `/dev/mail`.
async fn parts(
    app: &App,
    tokens: &TokenKeys,
    store: &Store,
    node: &realtime::Node,
) -> anyhow::Result<(Router, Courier)> {
    check_signing(&app.db, &store.keys.signing).await?;
    check_pepper(&app.db, &store.keys.pepper).await?;
    let passwords = app.passwords(store.keys.pepper.clone());
    let vault = Vault::new(&store.keys.pepper)?;
    let links = &store.keys.links;
    let api = functions::router(app, &passwords, &vault, tokens, links);
    let node = node.router().merge(node.admin_router());
    let routes =
        Router::new().nest("/api", api.clone()).merge(api).merge(node).merge(home::router());
    if app.settings.courier.smtp.is_some() {
        return Ok((routes, Courier::sending(app, links.clone())?));
    }
    let captured = Captured::default();
    let courier = Courier::capturing(app, links.clone(), captured.clone())?;
    Ok((routes.merge(dev_mail::router(captured)), courier))
}
