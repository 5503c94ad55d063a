//! `cargo dev create-user`: an account for somebody, where nobody may register.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use secrecy::ExposeSecret as _;
use shared::clock::Clock;
use shared::credentials::Username;
use shared::db;
use shared::db::users::{self, Invited};
use shared::secret_token::{self, Purpose, Row};
use shared::secrets::Keys;
use shared::settings::{Reader, Value as _};
use sqlx::{Connection as _, PgConnection};
use url::Url;
use uuid::Uuid;

use super::say;
use crate::postgres::DATABASE;
use crate::progress::Progress;
use crate::store::{Choice, Store};

/// The longest a link may work.
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// What the command line says.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The user's name.
    name: String,
    /// How long the link to set the first password works, 7 days at most.
    #[arg(long, default_value = "72h", value_parser = lifetime)]
    valid: Duration,
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = Duration::parse(text)?;
    let fits = !lifetime.is_zero() && lifetime <= LONGEST;
    if fits { Ok(lifetime) } else { Err("more than nothing, and 7 days at most".to_owned()) }
}

/// Makes the account, in the database of `DATABASE_URL` or in the private one, whether that is running
/// or not, and says the link to set its password.
///
/// # Errors
/// If the name is taken or not allowed, or the database cannot be reached.
pub(super) async fn create_user(
    choice: &Choice,
    arguments: &Arguments,
) -> anyhow::Result<ExitCode> {
    let mut reader = Reader::from_env();
    let public: Option<Url> = reader.optional("PUBLIC_URL", "");
    reader.finish()?;
    let public = public.map_or_else(|| "http://localhost:8080".parse(), Ok)?;
    let username = Username::parse(arguments.name.clone());
    let username = username.map_err(|invalid| anyhow::anyhow!("{}", invalid.message))?;
    let progress = Progress::new();
    let running = match &choice.database_url {
        Some(url) => Some(PgConnection::connect(url.expose_secret()).await?),
        // Without this command's own: a `cargo run` in another terminal is the usual case.
        None => PgConnection::connect(&choice.cluster(&progress).await?.url(DATABASE)).await.ok(),
    };
    let link = if let Some(mut owner) = running {
        let keys = Keys::read(&choice.keys_path()?)?;
        create(&mut owner, &keys, &username, arguments.valid, &public).await?
    } else {
        let store = Store::open(choice, &progress).await?;
        let mut owner = PgConnection::connect(store.url.expose_secret()).await?;
        let made = create(&mut owner, &store.keys, &username, arguments.valid, &public).await;
        owner.close().await?;
        store.stop().await;
        made?
    };
    drop(progress);
    let name = username.as_str();
    say(&format!("{name} has an account now, and sets its password here:\n{link}"));
    Ok(ExitCode::SUCCESS)
}

async fn create(
    owner: &mut PgConnection,
    keys: &Keys,
    username: &Username,
    valid: Duration,
    public: &Url,
) -> anyhow::Result<String> {
    let now = Clock::System.now();
    let (id, user) = (secret_token::new_id()?, Uuid::now_v7());
    let new = Invited { id: user, username, token: id, expires_at: now + valid };
    match users::invite(owner, new, now).await {
        Err(db::Error::Constraint(name)) if name == users::USERNAME_TAKEN => {
            bail!("the name {} is taken", username.as_str())
        }
        made => made?,
    }
    let row = Row { id, purpose: Purpose::Invite, user, target: "" };
    let token = secret_token::issue(&keys.links, row);
    Ok(secret_token::link(public, Purpose::Invite, &token).expose_secret().to_owned())
}
