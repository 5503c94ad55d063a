//! Appending, in batches: one call of `append_messages` each, which is one transaction.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Kind;
use crate::db::Error;
use crate::db::members::Role;

/// Something to append.
#[derive(Debug, Clone)]
pub struct Append {
    /// The room.
    pub room: i64,
    /// Who says or does it.
    pub user: Uuid,
    /// Whether a role of theirs lets them moderate every room.
    pub moderates: bool,
    /// Their name for it: tried again under the same one, it is stored once.
    pub key: Uuid,
    /// What it is.
    pub entry: NewEntry,
}

/// What is to be appended.
#[derive(Debug, Clone)]
pub enum NewEntry {
    /// A message.
    Message {
        /// The JSON text to deliver.
        body: Arc<str>,
    },
    /// Another text for one's own message.
    Edited {
        /// The message.
        of: i64,
        /// The JSON text to deliver.
        body: Arc<str>,
    },
    /// The end of a message: one's own, or, for who moderates, anybody's.
    Deleted {
        /// The message.
        of: i64,
    },
    /// Oneself becomes a member of a public room, or of one that one is invited to.
    Joined,
    /// Somebody leaves: oneself, or who is removed by a member of a higher role.
    Left {
        /// Who.
        subject: Uuid,
    },
    /// An owner gives a member another role.
    Role {
        /// Whom.
        subject: Uuid,
        /// The role.
        role: Role,
    },
}

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is committed.
    Stored {
        /// The log's epoch.
        epoch: i64,
        /// Its number.
        seq: i64,
        /// When.
        at: OffsetDateTime,
        /// Of `joined`, `left` and `role`: the body, which only the database can make.
        body: Option<String>,
    },
    /// The same was stored before under this key.
    Duplicate {
        /// The log's epoch.
        epoch: i64,
        /// The number it has.
        seq: i64,
        /// When that was.
        at: OffsetDateTime,
    },
    /// Something else was stored before under this key.
    KeyReused,
    /// There is no such room, or it keeps no log.
    NoSuchRoom,
    /// Who would say or do it is no member.
    NotMember,
    /// They are muted.
    Muted,
    /// They may not.
    Forbidden,
    /// There is no such message, or no longer.
    NoSuchMessage,
    /// Whom it is about is no member.
    NoSuchMember,
    /// The last owner would go while others stay, or be one no longer.
    LastOwner,
    /// It is so already.
    Unchanged,
}

impl NewEntry {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Message { .. } => Kind::Message,
            Self::Edited { .. } => Kind::Edited,
            Self::Deleted { .. } => Kind::Deleted,
            Self::Joined => Kind::Joined,
            Self::Left { .. } => Kind::Left,
            Self::Role { .. } => Kind::Role,
        }
    }

    /// The JSON text to deliver.
    pub fn body(&self) -> Option<&str> {
        match self {
            Self::Message { body } | Self::Edited { body, .. } => Some(body),
            _ => None,
        }
    }

    fn of(&self) -> Option<i64> {
        match self {
            Self::Edited { of, .. } | Self::Deleted { of } => Some(*of),
            _ => None,
        }
    }

    fn role(&self) -> Option<Role> {
        match self {
            Self::Role { role, .. } => Some(*role),
            _ => None,
        }
    }
}

impl Append {
    /// Whom it is about.
    fn subject(&self) -> Option<Uuid> {
        match self.entry {
            NewEntry::Joined => Some(self.user),
            NewEntry::Left { subject } | NewEntry::Role { subject, .. } => Some(subject),
            _ => None,
        }
    }

    /// By what a second try is told from something else under the same key: SHA-256 of a message's body;
    /// of another kind, of all that it says. The kind itself is compared beside it.
    pub(crate) fn digest(&self) -> Vec<u8> {
        let mut context = Context::new(&SHA256);
        if let Some(of) = self.entry.of() {
            context.update(&of.to_be_bytes());
        }
        if let Some(subject) = self.subject() {
            context.update(subject.as_bytes());
        }
        if let Some(role) = self.entry.role() {
            context.update(role.as_str().as_bytes());
        }
        context.update(self.entry.body().unwrap_or_default().as_bytes());
        context.finish().as_ref().to_vec()
    }
}

/// Appends a batch in one transaction, and says of each item what became of it. An error is about all of
/// them: none is stored, or, where the connection was lost, it is not known. They may be tried again under
/// the same keys.
///
/// # Errors
/// The statement's.
pub async fn append(
    connection: &mut PgConnection,
    items: &[Append],
    now: OffsetDateTime,
) -> Result<Vec<Outcome>, Error> {
    let order = order(items);
    let all = || order.iter().map(|place| &items[*place]);
    let rooms: Vec<i64> = all().map(|item| item.room).collect();
    let users: Vec<Uuid> = all().map(|item| item.user).collect();
    let moderates: Vec<bool> = all().map(|item| item.moderates).collect();
    let keys: Vec<Uuid> = all().map(|item| item.key).collect();
    let kinds: Vec<&str> = all().map(|item| item.entry.kind().as_str()).collect();
    let of_seqs: Vec<Option<i64>> = all().map(|item| item.entry.of()).collect();
    let bodies: Vec<Option<&str>> = all().map(|item| item.entry.body()).collect();
    let digests: Vec<Vec<u8>> = all().map(Append::digest).collect();
    let subjects: Vec<Option<Uuid>> = all().map(Append::subject).collect();
    let roles: Vec<_> = all().map(|item| item.entry.role().map(Role::as_str)).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT ordinal AS "ordinal!", outcome AS "outcome!", epoch, seq, at, body
           FROM append_messages($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"#,
        &rooms,
        &users,
        &moderates,
        &keys,
        &kinds as &[&str],
        &of_seqs as &[Option<i64>],
        &bodies as &[Option<&str>],
        &digests,
        &subjects as &[Option<Uuid>],
        &roles as &[Option<&str>],
        now
    )
    .fetch_all(connection)
    .await?;
    in_order(rows, &order).ok_or_else(|| {
        let what = "append_messages did not say of each item what became of it";
        Error::Fault(sqlx::Error::Decode(what.into()))
    })
}

/// What `append_messages` says of one item.
struct Row {
    ordinal: i64,
    outcome: String,
    epoch: Option<i64>,
    seq: Option<i64>,
    at: Option<OffsetDateTime>,
    body: Option<String>,
}

/// The places of a batch in the order in which it is carried: that of each room is kept, and messages come
/// together, which are then appended together. So what one room's members do among their messages slows
/// no other room.
fn order(items: &[Append]) -> Vec<usize> {
    // Of each room messages in even rounds, anything else in odd ones.
    let mut rounds: HashMap<i64, usize> = HashMap::new();
    let rounds = items.iter().map(|item| {
        let round = rounds.entry(item.room).or_default();
        *round += (*round + usize::from(item.entry.kind() != Kind::Message)) % 2;
        *round
    });
    let mut order: Vec<_> = rounds.zip(0..).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, place)| place).collect()
}

/// The outcomes by place; `None` unless there is one for each.
fn in_order(mut rows: Vec<Row>, order: &[usize]) -> Option<Vec<Outcome>> {
    rows.sort_unstable_by_key(|row| row.ordinal);
    if rows.len() != order.len() || !rows.iter().zip(1..).all(|(row, n)| row.ordinal == n) {
        return None;
    }
    let mut told: Vec<_> = order.iter().zip(rows).collect();
    told.sort_unstable_by_key(|(place, _)| **place);
    told.into_iter().map(|(_, row)| row.outcome()).collect()
}

impl Row {
    fn outcome(self) -> Option<Outcome> {
        Some(match &*self.outcome {
            "stored" => Outcome::Stored {
                epoch: self.epoch?,
                seq: self.seq?,
                at: self.at?,
                body: self.body,
            },
            "duplicate" => Outcome::Duplicate { epoch: self.epoch?, seq: self.seq?, at: self.at? },
            refused => Outcome::refusal(refused)?,
        })
    }
}

impl Outcome {
    /// The refusal of this name in the database.
    pub(in crate::db) fn refusal(name: &str) -> Option<Self> {
        Some(match name {
            "key_reused" => Self::KeyReused,
            "no_such_room" => Self::NoSuchRoom,
            "not_member" => Self::NotMember,
            "muted" => Self::Muted,
            "forbidden" => Self::Forbidden,
            "no_such_message" => Self::NoSuchMessage,
            "no_such_member" => Self::NoSuchMember,
            "last_owner" => Self::LastOwner,
            "unchanged" => Self::Unchanged,
            _ => return None,
        })
    }
}
