//! Rate limits shared by every process: GCRA, one row a bucket.
//!
//! A bucket holds its theoretical arrival time: when it would be full again. A request is let
//! through if that lies less than `burst − 1` intervals ahead, and moves it on by one interval.

use std::time::Duration;

use sqlx::PgExecutor;
use time::OffsetDateTime;

use super::Error;
use crate::settings::Rate;

/// As far ahead as a bucket ever looks, so that no rate leads out of the calendar.
const FAR: Duration = Duration::from_hours(10 * 365 * 24);

/// A bucket that a statement takes one from beside what else it does, so that what fails takes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Bucket<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// How fast it fills; without one it is never empty.
    pub rate: Option<Rate>,
}

impl Bucket<'_> {
    /// Seconds that one takes to refill.
    pub(super) fn seconds(&self) -> Option<f64> {
        self.rate.map(|rate| rate.interval().as_secs_f64())
    }

    /// The latest arrival time that still lets one be taken.
    pub(super) fn full_at(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        self.rate.map(|rate| full_at(rate, now))
    }

    /// Until when a bucket was empty that nothing could be taken from.
    pub(super) fn free_at(
        &self,
        tat: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> OffsetDateTime {
        self.rate.map_or(now, |rate| free_at(tat, rate, now))
    }
}

/// A `sqlx::query!` whose statement takes one from a bucket beside what else it does.
///
/// Its text stands in two parts: the first ends with a CTE `asked` (`key bytea, at timestamptz,
/// seconds float8, full_at timestamptz`) of one row, or of none when there is nothing to be taken for;
/// `seconds` is how long one takes to refill, null where there is no limit, and `full_at` the latest
/// arrival time that still lets one be taken. Behind it come, for the second part,
///
/// - `filled`: the `tat` of the bucket before, without a row when it is new;
/// - `taken`: a row when one was taken;
/// - `admitted`: a row when one was taken, or there is no limit.
///
/// A refusal writes nothing: the upsert only runs when the row read first lets it. Only a request that
/// finds the bucket taken by another at the same moment waits for that one and locks the row, as
/// `ON CONFLICT` does before it looks at its condition; it changes no value.
///
/// - `query`: the statement begins with the first part.
/// - `checked`, `permitted`: with that check, in the mode that follows.
/// - `apart`: as `checked`, and these CTEs have names of their own, so that the second part may take
///   from another bucket.
macro_rules! taking {
    (query $($rest:tt)*) => {
        $crate::db::buckets::taking!(@text [query] ["asked"] ["filled"] ["taken"] ["admitted"] $($rest)*)
    };
    (checked $mode:ident $($rest:tt)*) => {
        $crate::db::buckets::taking!(
            @text [checked $mode] ["asked"] ["filled"] ["taken"] ["admitted"] $($rest)*
        )
    };
    (permitted $mode:ident $($rest:tt)*) => {
        $crate::db::buckets::taking!(
            @text [permitted $mode] ["asked"] ["filled"] ["taken"] ["admitted"] $($rest)*
        )
    };
    (apart $mode:ident $($rest:tt)*) => {
        $crate::db::buckets::taking!(
            @text [checked $mode] ["noted"] ["noted_filled"] ["noted_taken"] ["noted_admitted"] $($rest)*
        )
    };
    (@text [$($how:tt)+] [$asked:literal] [$filled:literal] [$taken:literal] [$admitted:literal]
     $before:literal, $($after:literal)+ ; $($argument:tt)*) => {
        $crate::db::buckets::taking!(
            @$($how)+ $before
            ", " $filled " AS (
                SELECT b.tat FROM buckets b JOIN " $asked " a ON a.key = b.key
            ), " $taken " AS (
                INSERT INTO buckets AS bucket (key, tat)
                SELECT key, at + seconds * interval '1 second' FROM " $asked "
                WHERE seconds IS NOT NULL
                  AND NOT EXISTS (SELECT FROM " $filled " f WHERE f.tat > full_at)
                ON CONFLICT (key) DO UPDATE
                SET tat = greatest(bucket.tat, (SELECT at FROM " $asked "))
                          + (SELECT seconds FROM " $asked ") * interval '1 second'
                WHERE bucket.tat <= (SELECT full_at FROM " $asked ")
                RETURNING tat
            ), " $admitted " AS (
                SELECT FROM " $asked " WHERE seconds IS NULL OR EXISTS (SELECT FROM " $taken ")
            )" $($after)+ ; $($argument)*
        )
    };
    (@query $($part:literal)+ ; $($argument:tt)*) => {
        sqlx::query!("" $(+ $part)+, $($argument)*)
    };
    (@checked $mode:ident $($part:literal)+ ; $($argument:tt)*) => {
        $crate::db::sessions::checked!($mode $($part)+, $($argument)*)
    };
    (@permitted $mode:ident $($part:literal)+ ; $($argument:tt)*) => {
        $crate::db::permitted::permitted!($mode $($part)+, $($argument)*)
    };
}
pub(super) use taking;

/// Until when the bucket is empty, if it is. Nothing is taken.
///
/// # Errors
/// The statement's.
pub async fn look(
    db: impl PgExecutor<'_>,
    key: &[u8],
    rate: Rate,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, Error> {
    let full_at = full_at(rate, now);
    let found =
        sqlx::query_scalar!("SELECT tat FROM buckets WHERE key = $1 AND tat > $2", key, full_at);
    let tat = found.fetch_optional(db).await?;
    Ok(tat.map(|tat| free_at(Some(tat), rate, now)))
}

/// Takes one from the bucket; `Err(until)` inside when it is empty until then.
///
/// # Errors
/// The statement's.
pub async fn take(
    db: impl PgExecutor<'_>,
    key: &[u8],
    rate: Rate,
    now: OffsetDateTime,
) -> Result<Result<(), OffsetDateTime>, Error> {
    let taken = taking!(
        query "WITH asked AS (
            SELECT $1::bytea AS key, $2::timestamptz AS at, $3::float8 AS seconds,
                   $4::timestamptz AS full_at
        )",
        r#" SELECT EXISTS (SELECT FROM taken) AS "taken!", (SELECT tat FROM filled) AS tat"#;
        key,
        now,
        rate.interval().as_secs_f64(),
        full_at(rate, now),
    )
    .fetch_one(db)
    .await?;
    Ok(if taken.taken { Ok(()) } else { Err(free_at(taken.tat, rate, now)) })
}

/// The latest arrival time that still lets a request through.
pub(super) fn full_at(rate: Rate, now: OffsetDateTime) -> OffsetDateTime {
    let others = u32::try_from(rate.burst - 1).unwrap_or(u32::MAX);
    now + rate.interval().saturating_mul(others).min(FAR)
}

/// When the next request is let through. A bucket that was not yet empty when the row was read was
/// emptied by requests that ran beside this one: it is free after an interval.
pub(super) fn free_at(
    tat: Option<OffsetDateTime>,
    rate: Rate,
    now: OffsetDateTime,
) -> OffsetDateTime {
    let ahead = full_at(rate, now) - now;
    let free_at = tat.map(|tat| tat - ahead).filter(|free_at| *free_at > now);
    free_at.unwrap_or(now + rate.interval())
}
