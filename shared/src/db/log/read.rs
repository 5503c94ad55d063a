//! Reading: from a position on, and by pages. Each is one statement, so that the head it gives is the one
//! of the entries beside it.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Author, Entry, Head, Kind};
use crate::db::Error;

/// Most rooms that one statement asks for the head of.
pub const HEADS: usize = 1_000;
/// What an entry counts beside its body, against the bytes of a page: its fields, in a frame.
pub const ROW_BYTES: usize = 256;

/// A head, and the entries that were asked for, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Where the log begins and ends.
    pub head: Head,
    /// The entries.
    pub entries: Vec<Entry>,
}

/// From where a page of entries is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The newest ones.
    End,
    /// The ones just before this number.
    Before(i64),
    /// The ones just after it.
    After(i64),
}

/// Rows of a room's head, each beside an entry, or beside none: those of `messages` that satisfy the
/// condition, in this order, cut where the bodies reach a number of bytes, but never before the first.
///
/// `$1` is the room, `$2` most entries, `$3` most bytes, `$4` what an entry counts beside its body; those
/// of the condition begin at `$5`.
macro_rules! entries {
    ($condition:literal, $order:literal, $room:expr, $limit:expr, $bytes:expr $(, $argument:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT h.epoch, h.first_seq, h.last_seq, e.seq AS "seq?", e.kind AS "kind?",
                      e.user_id AS "user_id?",
                      u.username AS "username?", e.key AS "key?", e.of_seq, e.at AS "at?",
                      CASE WHEN e.kind IN ('joined', 'left', 'role') THEN member_json(e.body)
                           ELSE e.body END AS body
               FROM room_heads h
               LEFT JOIN LATERAL (
                   SELECT m.*, row_number() OVER by_seq AS place,
                          sum(coalesce(octet_length(m.body), 0) + $4::bigint) OVER by_seq AS bytes
                   FROM (SELECT * FROM messages m WHERE m.room = h.room AND "# + $condition
            + " ORDER BY m.seq " + $order + " LIMIT $2) m
                   WINDOW by_seq AS (ORDER BY m.seq " + $order + ")
               ) e ON e.bytes <= $3::bigint OR e.place = 1
               LEFT JOIN users u ON u.id = e.user_id
               WHERE h.room = $1
               ORDER BY e.seq",
            $room,
            $limit,
            i64::try_from($bytes).unwrap_or(i64::MAX),
            i64::try_from(ROW_BYTES).unwrap_or(i64::MAX)
            $(, $argument)*
        )
    };
}

/// The head and the entries after a position, at most about so many bytes of them, but at least one if there
/// is any. Without a position only the head, and also when the position cannot be gone on from: its epoch is
/// another one, or entries after it are no longer there. `None` when the room has no log.
///
/// # Errors
/// The statement's.
pub async fn since(
    db: impl PgExecutor<'_>,
    room: i64,
    since: Option<(i64, i64)>,
    max_bytes: usize,
) -> Result<Option<Replay>, Error> {
    let (epoch, seq) = since.unzip();
    // More rows than this would be more bytes, too.
    let limit = i64::try_from(max_bytes / ROW_BYTES + 1).unwrap_or(i64::MAX);
    let rows = entries!(
        "h.epoch = $5 AND m.seq > $6 AND $6 + 1 >= h.first_seq",
        "ASC",
        room,
        limit,
        max_bytes,
        epoch,
        seq
    );
    Ok(replay(rows.fetch_all(db).await?))
}

/// A page of entries, at most so many and about so many bytes of them, but at least one if there is any.
/// `None` when the room has no log.
///
/// # Errors
/// The statement's.
pub async fn page(
    db: impl PgExecutor<'_>,
    room: i64,
    from: From,
    limit: i64,
    max_bytes: usize,
) -> Result<Option<Replay>, Error> {
    let rows = match from {
        From::After(seq) => {
            // The index may still have what was removed before the first.
            let rows =
                entries!("m.seq > $5 AND m.seq >= h.first_seq", "ASC", room, limit, max_bytes, seq);
            rows.fetch_all(db).await?
        }
        From::Before(_) | From::End => {
            let seq = if let From::Before(seq) = from { seq } else { i64::MAX };
            let rows = entries!(
                "m.seq < $5 AND m.seq >= h.first_seq",
                "DESC",
                room,
                limit,
                max_bytes,
                seq
            );
            rows.fetch_all(db).await?
        }
    };
    Ok(replay(rows))
}

/// The heads of these rooms, of which those without a log are left out; a statement for each [`HEADS`].
///
/// # Errors
/// A statement's.
pub async fn heads<'c, D>(db: D, rooms: &[i64]) -> Result<Vec<(i64, Head)>, Error>
where
    D: PgExecutor<'c> + Copy,
{
    let mut heads = Vec::with_capacity(rooms.len());
    for rooms in rooms.chunks(HEADS) {
        let rows = sqlx::query!(
            "SELECT room, epoch, first_seq, last_seq FROM room_heads WHERE room = ANY($1)",
            rooms
        );
        heads.extend(rows.fetch_all(db).await?.into_iter().map(|row| {
            let (epoch, first_seq, last_seq) = (row.epoch, row.first_seq, row.last_seq);
            (row.room, Head { epoch, first_seq, last_seq })
        }));
    }
    Ok(heads)
}

/// A head, and an entry if there is one.
struct Row {
    epoch: i64,
    first_seq: i64,
    last_seq: i64,
    seq: Option<i64>,
    kind: Option<String>,
    user_id: Option<Uuid>,
    username: Option<String>,
    key: Option<Uuid>,
    of_seq: Option<i64>,
    body: Option<String>,
    at: Option<OffsetDateTime>,
}

fn replay(rows: Vec<Row>) -> Option<Replay> {
    let Row { epoch, first_seq, last_seq, .. } = *rows.first()?;
    let entries = rows.into_iter().filter_map(Row::entry).collect();
    Some(Replay { head: Head { epoch, first_seq, last_seq }, entries })
}

impl Row {
    fn entry(self) -> Option<Entry> {
        Some(Entry {
            seq: self.seq?,
            // The table's CHECK lets no other in.
            kind: Kind::find(&self.kind?)?,
            user: self.user_id.zip(self.username).map(|(id, username)| Author { id, username }),
            key: self.key?,
            of: self.of_seq,
            body: self.body,
            at: self.at?,
        })
    }
}
