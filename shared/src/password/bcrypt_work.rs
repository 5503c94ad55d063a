//! The bcrypt calls, each counted.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use bcrypt::{BcryptError, HashParts};

/// Highest cost of any hash: each step doubles the work, and 15 takes two seconds.
pub(super) const MAX_COST: u32 = 15;
/// Hashed when there is nothing to check: its answer is thrown away.
const DUMMY_INPUT: &[u8] = b"no such account";
/// Of 16 bytes, as every salt.
const DUMMY_SALT: [u8; 16] = *b"keywire's dummy.";

/// A new hash, `$2b$…`. The input is at most 71 bytes, so nothing is cut.
pub(super) fn hash(input: &[u8], cost: u32, rounds: &AtomicU64) -> Result<String, BcryptError> {
    count(cost, rounds);
    bcrypt::non_truncating_hash(input, cost)
}

/// Whether the input makes this hash. A wrong answer costs at least 2^`cost` rounds in all.
pub(super) fn check(input: &[u8], hash: &str, cost: u32, rounds: &AtomicU64) -> bool {
    let Some(stored_cost) = cost_of(hash) else {
        tracing::error!("a stored hash is not bcrypt of a cost up to 15");
        dummy(cost, rounds);
        return false;
    };
    count(stored_cost, rounds);
    #[expect(clippy::disallowed_methods, reason = "this is the module the lint points to")]
    let right = bcrypt::verify(input, hash).unwrap_or(false);
    if !right {
        // 2^a and 2^a + 2^(a+1) + … + 2^(b−1) together are 2^b.
        (stored_cost..cost).for_each(|cost| dummy(cost, rounds));
    }
    right
}

/// As much work as a check at this cost.
pub(super) fn dummy(cost: u32, rounds: &AtomicU64) {
    count(cost, rounds);
    let done = bcrypt::hash_with_salt(DUMMY_INPUT, cost, DUMMY_SALT);
    std::hint::black_box(done.is_ok());
}

/// The cost written in a hash; none when it is malformed or would take minutes.
pub(super) fn cost_of(hash: &str) -> Option<u32> {
    let cost = HashParts::from_str(hash).ok()?.get_cost();
    (cost <= MAX_COST).then_some(cost)
}

fn count(cost: u32, rounds: &AtomicU64) {
    rounds.fetch_add(1 << cost, Ordering::Relaxed);
}
