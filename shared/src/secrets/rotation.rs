//! Rotation of the signing keys: the next one becomes current, and new ones are made.

use std::collections::BTreeMap;
use std::time::Duration;

use time::OffsetDateTime;

use super::{Key, RefreshKey, Signing, SigningKey, WrongKeys, new_id};

/// From when on a new refresh key makes tokens. Until then every process has read it: one that lacks
/// it would take its tokens for forged ones. No setting: it is far over the longest `KEYS_FILE_INTERVAL`.
pub const REFRESH_RIPENS: Duration = Duration::from_mins(15);
/// A refresh key is kept at least so long after a newer one: a session lives 30 days by default.
pub const REFRESH_KEPT: Duration = Duration::from_hours(24 * 31);

impl Signing {
    /// The set after a rotation: what was next is current, and there is a new next key and a new
    /// refresh key. Refresh keys go `kept` after a newer one came.
    ///
    /// # Errors
    /// When the system's generator fails.
    pub fn rotated(&self, now: OffsetDateTime, kept: Duration) -> Result<Self, WrongKeys> {
        let mut refresh: BTreeMap<_, _> = self.refresh.clone();
        let added = RefreshKey { key: Key::generate()?, created_at: now };
        let clash = refresh.insert(new_id("r")?, added);
        if clash.is_some() {
            return Err(WrongKeys::new("two refresh keys would have the same id; try again"));
        }
        let times: Vec<_> = refresh.values().map(|key| key.created_at).collect();
        refresh.retain(|_, key| {
            let newer = times.iter().filter(|at| **at > key.created_at).min();
            newer.is_none_or(|newer| *newer + kept > now)
        });
        Ok(Self { current: self.next.clone(), next: SigningKey::generate(now)?, refresh })
    }

    /// The id and key that make refresh tokens now: the newest that has ripened, else the oldest.
    ///
    /// # Panics
    /// For a set that `Signing::check` refuses: without refresh keys.
    pub fn refresh_key(&self, now: OffsetDateTime) -> (&str, &Key) {
        let ripe = |key: &RefreshKey| key.created_at + REFRESH_RIPENS <= now;
        let by_age = |(_, key): &(&String, &RefreshKey)| key.created_at;
        let newest = self.refresh.iter().filter(|(_, key)| ripe(key)).max_by_key(by_age);
        let chosen = newest.or_else(|| self.refresh.iter().min_by_key(by_age));
        let (id, key) = chosen.expect("Signing::check refuses a set without refresh keys");
        (id, &key.key)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Keys;
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn start() -> (Signing, OffsetDateTime) {
        let now = OffsetDateTime::UNIX_EPOCH;
        (Keys::generate(now).unwrap().signing, now)
    }

    #[test]
    fn the_next_key_becomes_current_and_a_new_one_is_made() {
        let (first, now) = start();
        let second = first.rotated(now + DAY, REFRESH_KEPT).unwrap();
        let public = |key: &SigningKey| key.public_key().unwrap();
        assert_eq!(public(&second.current), public(&first.next));
        assert!(![&first.current, &first.next].map(public).contains(&public(&second.next)));
    }

    #[test]
    fn a_new_refresh_key_makes_tokens_only_when_every_process_has_read_it() {
        let (first, now) = start();
        let (old, _) = first.refresh_key(now);
        let second = first.rotated(now + DAY, REFRESH_KEPT).unwrap();
        assert_eq!(second.refresh_key(now + DAY).0, old);
        assert_ne!(second.refresh_key(now + DAY + REFRESH_RIPENS).0, old);
    }

    #[test]
    fn a_refresh_key_is_kept_31_days_after_a_newer_one() {
        let (first, now) = start();
        let old = first.refresh_key(now).0.to_owned();
        let second = first.rotated(now + 90 * DAY, REFRESH_KEPT).unwrap();
        assert!(second.refresh.contains_key(&old), "superseded only now");
        let third = second.rotated(now + 120 * DAY, REFRESH_KEPT).unwrap();
        assert!(third.refresh.contains_key(&old), "30 days after");
        let fourth = third.rotated(now + 122 * DAY, REFRESH_KEPT).unwrap();
        assert!(!fourth.refresh.contains_key(&old), "32 days after");
        assert_eq!(fourth.refresh.len(), 3);
    }
}
