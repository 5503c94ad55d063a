//! The header of a client's frame, and every rule that it alone can break.

use super::super::{CONTROL_BYTES, Opcode, Violation};

/// The longest header: two bytes, a length of eight, a mask.
pub(super) const MAX_BYTES: usize = 14;

/// What a frame's header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// The last frame of its message.
    pub(super) last: bool,
    /// `None` for a continuation.
    pub(super) opcode: Option<Opcode>,
    /// Bytes of payload, within the limit.
    pub(super) length: u32,
    /// What the payload is masked with.
    pub(super) mask: [u8; 4],
}

/// What decides whether a frame may come now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    /// A message was begun and goes on.
    pub(super) in_message: bool,
    /// Bytes that the message may still take.
    pub(super) room: usize,
}

impl Header {
    /// A Close, Ping or Pong.
    pub(super) fn is_control(self) -> bool {
        self.opcode.is_some_and(Opcode::is_control)
    }

    /// Belongs to no other frame: a control frame, or a message in one piece.
    pub(super) fn stands_alone(self) -> bool {
        self.last && self.opcode.is_some()
    }

    /// Reads the header at the start of `bytes`, and how many bytes it takes. `None`: it goes on
    /// behind them.
    ///
    /// Each byte is judged before the next is needed, so that a broken rule shows at the same byte
    /// however the stream was cut.
    #[inline]
    pub(super) fn read(bytes: &[u8], allowed: Allowed) -> Result<Option<(Self, usize)>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let last = first & 0x80 != 0;
        let opcode = opcode(first, last, allowed.in_message)?;
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(Violation::Unmasked);
        }
        let short = second & 0x7f;
        let control = opcode.is_some_and(Opcode::is_control);
        if control && usize::from(short) > CONTROL_BYTES {
            return Err(Violation::LongControl);
        }
        let Some((length, at)) = length(short, &bytes[2..])? else { return Ok(None) };
        let length = u32::try_from(length).map_err(|_| Violation::TooBig)?;
        if !control && length as usize > allowed.room {
            return Err(Violation::TooBig);
        }
        let at = 2 + at;
        let Some(&mask) = bytes[at..].first_chunk() else { return Ok(None) };
        Ok(Some((Self { last, opcode, length, mask }, at + mask.len())))
    }
}

/// The opcode, if it may come now; `None` for a continuation.
#[inline]
fn opcode(first: u8, last: bool, in_message: bool) -> Result<Option<Opcode>, Violation> {
    if first & 0x70 != 0 {
        return Err(Violation::ReservedBit);
    }
    let opcode = match first & 0x0f {
        0x0 if in_message => return Ok(None),
        0x0 => return Err(Violation::NothingToContinue),
        0x1 => Opcode::Text,
        0x2 => Opcode::Binary,
        0x8 => Opcode::Close,
        0x9 => Opcode::Ping,
        0xa => Opcode::Pong,
        _ => return Err(Violation::ReservedOpcode),
    };
    match opcode.is_control() {
        true if !last => Err(Violation::FragmentedControl),
        false if in_message => Err(Violation::Unfinished),
        _ => Ok(Some(opcode)),
    }
}

/// The length, and how many of `rest`, the bytes after the first two, it takes.
#[inline]
fn length(short: u8, rest: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
    match short {
        126 => {
            let Some(&bytes) = rest.first_chunk() else { return Ok(None) };
            match u16::from_be_bytes(bytes) {
                0..=125 => Err(Violation::LongLength),
                length => Ok(Some((length.into(), 2))),
            }
        }
        127 => {
            if rest.first().is_some_and(|top| top & 0x80 != 0) {
                return Err(Violation::HugeLength);
            }
            let Some(&bytes) = rest.first_chunk() else { return Ok(None) };
            match u64::from_be_bytes(bytes) {
                0..=0xffff => Err(Violation::LongLength),
                length => Ok(Some((length, 8))),
            }
        }
        _ => Ok(Some((short.into(), 0))),
    }
}
