//! What every message of the load begins with: who sent it, its number, and when.
//!
//! Sixteen characters, because servers may check that text is UTF-8, and of six bits each, so that
//! eight of them are read at once: `SSNNNNNNTTTTTTTT`, each character `0` + its six bits, the highest
//! first. Two characters of sender, six of number, eight of nanoseconds since the load began.

/// Bytes of a stamp, and of the shortest message.
pub(crate) const STAMP: usize = 16;

/// Senders that can be told apart.
pub(crate) const SENDERS: usize = 1 << 12;

/// Bits of a number.
const NUMBER_BITS: u32 = 36;

/// What one character stands for when all its bits are clear.
const ZERO: u64 = u64::from_be_bytes(*b"00000000");

/// The bits that six-bit digits never have.
const FOREIGN: u64 = 0xC0C0_C0C0_C0C0_C0C0;

/// The head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Who sent it, below [`SENDERS`].
    pub(crate) sender: usize,
    /// The sender's own number, from 0 without gaps, below 2^36.
    pub(crate) number: u64,
    /// Nanoseconds after the load began, below 2^48 (78 hours).
    pub(crate) sent: u64,
}

impl Stamp {
    /// As it goes over the wire.
    pub(crate) fn encode(self) -> [u8; STAMP] {
        let mut bytes = [0; STAMP];
        let who = ((self.sender as u64) << NUMBER_BITS) | self.number;
        bytes[..8].copy_from_slice(&digits(who));
        bytes[8..].copy_from_slice(&digits(self.sent));
        bytes
    }

    /// Reads the head of a message; `None` if somebody else sent it.
    #[inline]
    pub(crate) fn decode(message: &[u8]) -> Option<Self> {
        let (who, rest) = message.split_first_chunk()?;
        let who = value(*who)?;
        let sent = value(*rest.first_chunk()?)?;
        let sender = usize::try_from(who >> NUMBER_BITS).ok()?;
        Some(Self { sender, number: who & ((1 << NUMBER_BITS) - 1), sent })
    }
}

/// 48 bits as eight characters.
fn digits(value: u64) -> [u8; 8] {
    let mut spread = 0;
    for digit in 0..8 {
        spread |= ((value >> (6 * digit)) & 0x3F) << (8 * digit);
    }
    (spread + ZERO).to_be_bytes()
}

/// The reverse of [`digits`], in three steps instead of eight: this runs for every delivery.
#[inline]
fn value(digits: [u8; 8]) -> Option<u64> {
    // A character below `0` borrows and so shows a foreign bit as well.
    let spread = u64::from_be_bytes(digits).wrapping_sub(ZERO);
    if spread & FOREIGN != 0 {
        return None;
    }
    let by_12 = (spread & 0x003F_003F_003F_003F) | ((spread & 0x3F00_3F00_3F00_3F00) >> 2);
    let by_24 = (by_12 & 0x0000_0FFF_0000_0FFF) | ((by_12 & 0x0FFF_0000_0FFF_0000) >> 4);
    Some((by_24 & 0x00FF_FFFF) | ((by_24 & 0x00FF_FFFF_0000_0000) >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_come_back_as_they_were() {
        for (sender, number, sent) in
            [(0, 0, 0), (1, 2, 3), (4095, (1 << 36) - 1, (1 << 48) - 1), (77, 1 << 35, 123_456_789)]
        {
            let stamp = Stamp { sender, number, sent };
            let bytes = stamp.encode();
            assert!(bytes.is_ascii());
            assert_eq!(Stamp::decode(&bytes), Some(stamp));
        }
    }

    #[test]
    fn what_others_say_is_no_stamp() {
        for foreign in
            [&b"short"[..], b"hello everybody in here", b"0000000\xFF00000000", b"0000000/00000000"]
        {
            assert_eq!(Stamp::decode(foreign), None, "{foreign:?}");
        }
    }
}
