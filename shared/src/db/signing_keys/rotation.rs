//! Publishing a rotation, as the owner.

use sqlx::{Acquire, Postgres, Transaction};
use time::OffsetDateTime;

use super::{PublicKey, RegisterError, list};
use crate::access_token::{public_jwk, thumbprint};
use crate::db::Error;
use crate::secrets::Signing;

/// How a set of keys stands to what the database has published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Its current and next keys are the published ones.
    Settled {
        /// When the next key was published.
        next_since: OffsetDateTime,
    },
    /// It is the outcome of a rotation that was not published: what signs is known, what signs next
    /// is not.
    Ahead,
    /// It is another database's, or was rotated elsewhere since; a sentence says what is wrong.
    Other(String),
}

/// Rotating: until it ends, nobody else reads what this one is about to change.
#[derive(Debug)]
pub struct Rotation<'c> {
    transaction: Transaction<'c, Postgres>,
    published: Vec<PublicKey>,
}

impl<'c> Rotation<'c> {
    /// Waits for whoever else is rotating, and reads what is published.
    ///
    /// # Errors
    /// The statements'.
    pub async fn begin(db: impl Acquire<'c, Database = Postgres>) -> Result<Self, Error> {
        let mut transaction = db.begin().await?;
        // Readers are not kept waiting: tokens are verified meanwhile.
        let lock = sqlx::raw_sql("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE");
        lock.execute(&mut *transaction).await?;
        let published = list(&mut *transaction).await?;
        Ok(Self { transaction, published })
    }

    /// How these keys stand to what is published.
    ///
    /// # Errors
    /// [`RegisterError::Keys`] when they do not hold.
    pub fn standing(&self, keys: &Signing) -> Result<Standing, RegisterError> {
        let [current, next] = kids(keys)?;
        let find = |kid: &str| self.published.iter().find(|key| key.kid == kid);
        let Some(signs) = find(&current) else {
            return Ok(Standing::Other(format!(
                "the signing key {current} is not published in this database: these keys belong to \
                 another one, or were never registered (cargo dev keys FILE --register)"
            )));
        };
        if signs.retire_at.is_some() {
            return Ok(Standing::Other(format!(
                "a later rotation has retired the signing key {current}: give the newest set"
            )));
        }
        let live = self.published.iter().filter(|key| key.retire_at.is_none());
        let others: Vec<_> = live.filter(|key| key.kid != current && key.kid != next).collect();
        match (find(&next), others.as_slice()) {
            (Some(PublicKey { created_at, retire_at: None, .. }), []) => {
                Ok(Standing::Settled { next_since: *created_at })
            }
            // The key that signed before, which was published no later than its successor.
            (None, [before]) if before.created_at <= signs.created_at => Ok(Standing::Ahead),
            _ => Ok(Standing::Other(
                "the database's current and next signing keys are not this set's: give the newest set"
                    .to_owned(),
            )),
        }
    }

    /// Publishes the set's next key, lets the key that signed before verify until `retire_at`, and
    /// writes the audit row.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn publish(
        mut self,
        keys: &Signing,
        retire_at: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<(), RegisterError> {
        let [current, next] = kids(keys)?;
        sqlx::query!(
            "WITH retired AS (
                 UPDATE signing_keys SET retire_at = $4
                 WHERE retire_at IS NULL AND kid NOT IN ($1, $5)
             ), logged AS (
                 INSERT INTO audit (at, event, detail)
                 VALUES ($3, 'signing_keys_rotated',
                         jsonb_build_object('current', $5::text, 'next', $1))
             )
             INSERT INTO signing_keys (kid, public_jwk, created_at) VALUES ($1, $2, $3)",
            next,
            public_jwk(&keys.next.public_key()?),
            now,
            retire_at,
            current,
        )
        .execute(&mut *self.transaction)
        .await
        .map_err(Error::from)?;
        self.transaction.commit().await.map_err(Error::from)?;
        Ok(())
    }
}

/// The ids of the current and the next key.
fn kids(keys: &Signing) -> Result<[String; 2], RegisterError> {
    Ok([thumbprint(&keys.current.public_key()?), thumbprint(&keys.next.public_key()?)])
}
