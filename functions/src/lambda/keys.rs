//! The secrets of a function: fetched once at its start, and held against the database before any
//! request is answered.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use shared::db::Database;
use shared::problem::Problem;
use shared::secrets::aws::SecretsManager;
use shared::secrets::{self, Links, Pepper, Secret, Signing, WrongKeys};
use shared::settings::SecretsWaits;
use tokio::sync::OnceCell;

use crate::keys::{CheckError, check_pepper, check_signing};
use crate::settings::lambda::{KEYS_FILE, LINKS_ARN, PEPPER_ARN, SIGNING_ARN, Settings};

/// Where secrets come from: Secrets Manager, or a file on a machine of one's own.
#[derive(Debug)]
pub struct Store {
    manager: OnceCell<SecretsManager>,
    file: Option<secrets::Keys>,
    pepper_arn: Option<String>,
    signing_arn: Option<String>,
    links_arn: Option<String>,
    waits: SecretsWaits,
}

impl Store {
    /// Reads the file, if there is one; Secrets Manager is asked when a secret is.
    ///
    /// # Errors
    /// When the file cannot be read or does not hold.
    pub(super) fn new(settings: &Settings) -> Result<Self, WrongKeys> {
        let file = settings.keys_file.as_deref().map(secrets::Keys::read).transpose();
        Ok(Self {
            manager: OnceCell::new(),
            file: file.map_err(|why| WrongKeys::new(format!("{KEYS_FILE}: {why}")))?,
            pepper_arn: settings.pepper_arn.clone(),
            signing_arn: settings.signing_arn.clone(),
            links_arn: settings.links_arn.clone(),
            waits: settings.secrets,
        })
    }

    /// Secrets Manager, its client built at the first call.
    pub(super) async fn manager(&self) -> Result<&SecretsManager, WrongKeys> {
        self.manager.get_or_try_init(|| SecretsManager::from_env(self.waits)).await
    }

    async fn pepper(&self) -> Result<Pepper, WrongKeys> {
        let file = self.file.as_ref().map(|keys| &keys.pepper);
        self.get(file, PEPPER_ARN, self.pepper_arn.as_deref()).await
    }

    async fn signing(&self) -> Result<Signing, WrongKeys> {
        let file = self.file.as_ref().map(|keys| &keys.signing);
        self.get(file, SIGNING_ARN, self.signing_arn.as_deref()).await
    }

    async fn links(&self) -> Result<Links, WrongKeys> {
        let file = self.file.as_ref().map(|keys| &keys.links);
        self.get(file, LINKS_ARN, self.links_arn.as_deref()).await
    }

    async fn get<S: Secret + Clone + Send + Sync>(
        &self,
        file: Option<&S>,
        variable: &str,
        arn: Option<&str>,
    ) -> Result<S, WrongKeys> {
        match (file, arn) {
            (Some(secret), _) => Ok(secret.clone()),
            (None, Some(arn)) => self.manager().await?.get(variable, arn).await,
            (None, None) => Err(WrongKeys::new(format!("{variable} is not set"))),
        }
    }
}

/// The secrets that a function may read; its binary cannot name any other.
pub trait Keys: Clone + Send + Sync + 'static {
    /// The variables that hold their ARNs.
    const VARIABLES: &'static [&'static str];

    /// Fetches them, all at once.
    fn fetch(store: &Store) -> impl Future<Output = Result<Self, WrongKeys>>;

    /// Holds them against the database; a wrong set is told by the variable in `named`, which turns
    /// the variable of an ARN into the one that was set.
    fn belong_to(
        &self,
        db: &Database,
        named: Named,
    ) -> impl Future<Output = Result<(), CheckError>> + Send;
}

/// No secrets: what is public only.
impl Keys for () {
    const VARIABLES: &'static [&'static str] = &[];

    async fn fetch(_store: &Store) -> Result<Self, WrongKeys> {
        Ok(())
    }

    async fn belong_to(&self, _db: &Database, _named: Named) -> Result<(), CheckError> {
        Ok(())
    }
}

/// Sets passwords, but signs nothing.
impl Keys for Pepper {
    const VARIABLES: &'static [&'static str] = &[PEPPER_ARN];

    async fn fetch(store: &Store) -> Result<Self, WrongKeys> {
        store.pepper().await
    }

    async fn belong_to(&self, db: &Database, named: Named) -> Result<(), CheckError> {
        check_pepper(db, self).await.map_err(|error| named.name(PEPPER_ARN, error))
    }
}

/// Signs tokens, but knows no password.
impl Keys for Signing {
    const VARIABLES: &'static [&'static str] = &[SIGNING_ARN];

    async fn fetch(store: &Store) -> Result<Self, WrongKeys> {
        store.signing().await
    }

    async fn belong_to(&self, db: &Database, named: Named) -> Result<(), CheckError> {
        check_signing(db, self).await.map_err(|error| named.name(SIGNING_ARN, error))
    }
}

/// Makes links, and touches no password.
impl Keys for Links {
    const VARIABLES: &'static [&'static str] = &[LINKS_ARN];

    async fn fetch(store: &Store) -> Result<Self, WrongKeys> {
        store.links().await
    }

    async fn belong_to(&self, _db: &Database, _named: Named) -> Result<(), CheckError> {
        // The database knows nothing of this key: with a wrong one, links do not work.
        Ok(())
    }
}

/// Takes links and sets passwords.
impl Keys for (Pepper, Links) {
    const VARIABLES: &'static [&'static str] = &[PEPPER_ARN, LINKS_ARN];

    async fn fetch(store: &Store) -> Result<Self, WrongKeys> {
        tokio::try_join!(store.pepper(), store.links())
    }

    async fn belong_to(&self, db: &Database, named: Named) -> Result<(), CheckError> {
        self.0.belong_to(db, named).await
    }
}

/// Checks passwords and signs tokens.
impl Keys for (Pepper, Signing) {
    const VARIABLES: &'static [&'static str] = &[PEPPER_ARN, SIGNING_ARN];

    async fn fetch(store: &Store) -> Result<Self, WrongKeys> {
        tokio::try_join!(store.pepper(), store.signing())
    }

    async fn belong_to(&self, db: &Database, named: Named) -> Result<(), CheckError> {
        self.0.belong_to(db, named).await?;
        self.1.belong_to(db, named).await
    }
}

/// By which variables the keys and the database were given.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    from_file: bool,
    database: &'static str,
}

impl Named {
    /// As these settings have it.
    pub(super) fn of(settings: &Settings) -> Self {
        Self { from_file: settings.keys_file.is_some(), database: settings.database_variable() }
    }

    /// The error, a wrong set said by the variable to look at.
    fn name(self, arn: &str, error: CheckError) -> CheckError {
        let variable = if self.from_file { KEYS_FILE } else { arn };
        match error {
            CheckError::Keys(why) => WrongKeys::new(format!("{variable}: {why}")).into(),
            store @ CheckError::Store(_) => store,
        }
    }
}

/// Lets no request through before the keys were found to be this database's.
///
/// At start a wrong set ends the process, and so does a database that cannot be read with this
/// address. One that is away then does not: requests get their
/// 503, and the first that finds it there has the keys checked.
#[derive(Debug, Clone)]
pub(super) struct Gate<K> {
    db: Database,
    keys: K,
    named: Named,
    checked: Arc<OnceCell<()>>,
}

impl<K: Keys> Gate<K> {
    pub(super) fn new(db: Database, keys: K, named: Named) -> Self {
        Self { db, keys, named, checked: Arc::default() }
    }

    pub(super) async fn check_at_start(&self) -> Result<(), WrongKeys> {
        match self.check().await {
            Err(CheckError::Keys(why)) => Err(why),
            // Another role than the serving one, or a database that was never migrated.
            Err(CheckError::Store(error)) if !error.is_passing() => {
                Err(WrongKeys::new(format!("{}: {error}", self.named.database)))
            }
            Err(CheckError::Store(error)) => {
                tracing::warn!(%error, "the keys will be checked at the first request");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Puts the gate before a router.
    pub(super) fn layer(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, pass::<K>))
    }

    async fn check(&self) -> Result<(), CheckError> {
        let check = || self.keys.belong_to(&self.db, self.named);
        self.checked.get_or_try_init(check).await.copied()
    }
}

async fn pass<K: Keys>(State(gate): State<Gate<K>>, request: Request, next: Next) -> Response {
    match gate.check().await {
        Ok(()) => next.run(request).await,
        Err(CheckError::Keys(why)) => Problem::internal(&why).into_response(),
        Err(CheckError::Store(error)) => Problem::from(error).into_response(),
    }
}
