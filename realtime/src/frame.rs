//! The framing of RFC 6455, the server's side: bytes to messages ([`Parser`]) and messages to bytes
//! ([`encode`]). No I/O, no extension: permessage-deflate is never negotiated.
//!
//! Strict: what a client must not send ends the connection with the code the RFC gives, at the
//! first byte that shows it (in a control frame's payload: when it is whole). [`Violation`] lists
//! the rules.

use std::borrow::Cow;
use std::ops::Deref;

pub mod encode;
mod parse;
mod utf8;

#[cfg(test)]
mod tests;

pub use parse::Parser;

use crate::close::CloseCode;

/// What may be in a control frame (RFC 6455 §5.5).
pub const CONTROL_BYTES: usize = 125;

/// What a client said: a whole message, put together from its fragments, or a control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A text message; the bytes are valid UTF-8. Borrowed if it came whole in one frame.
    Text(Cow<'a, [u8]>),
    /// A binary message. Borrowed if it came whole in one frame.
    Binary(Cow<'a, [u8]>),
    /// A Ping, to be answered by a Pong with the same bytes.
    Ping(Control),
    /// A Pong, asked for or not (§5.5.3). Its bytes mean nothing to a node.
    Pong,
    /// The client's Close with its code, if it gave one. The last frame of a connection.
    Close(Option<u16>),
}

/// The payload of a Ping, at most [`CONTROL_BYTES`].
///
/// On the heap, because a connection keeps a place for one while its socket is blocked: 16 bytes
/// instead of 126 in every connection. An empty one, the most frequent, allocates nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Control(Box<[u8]>);

impl Deref for Control {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The kinds of frames that have a meaning of their own; a continuation has its first frame's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A text message.
    Text = 0x1,
    /// A binary message.
    Binary = 0x2,
    /// The end, with an optional code and reason.
    Close = 0x8,
    /// "Are you there?"
    Ping = 0x9,
    /// The answer to a Ping.
    Pong = 0xa,
}

impl Opcode {
    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The rule a client broke. The stream cannot be read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// RSV1 to RSV3 mean something only under an extension (§5.2).
    #[error("a reserved bit is set")]
    ReservedBit,
    /// 3 to 7 and 11 to 15 (§5.2).
    #[error("a reserved opcode")]
    ReservedOpcode,
    /// What a client sends is masked (§5.1).
    #[error("a frame without a mask")]
    Unmasked,
    /// A control frame is never fragmented (§5.5).
    #[error("a control frame in fragments")]
    FragmentedControl,
    /// A control frame is at most 125 bytes (§5.5).
    #[error("a control frame over 125 bytes")]
    LongControl,
    /// There is no message to continue (§5.4).
    #[error("a continuation of nothing")]
    NothingToContinue,
    /// A message begins only after the last has ended (§5.4).
    #[error("a new message inside a fragmented one")]
    Unfinished,
    /// The length is not in its shortest form (§5.2).
    #[error("a length longer than it need be")]
    LongLength,
    /// The length's top bit is set (§5.2).
    #[error("a length of 64 bits")]
    HugeLength,
    /// Half a code (§5.5.1).
    #[error("a close frame of one byte")]
    ShortClose,
    /// A code that nobody may send (§7.4): reserved, or not assigned by IANA.
    #[error("a close code that must not be sent")]
    CloseCode,
    /// The reason of a Close is not UTF-8 (§5.5.1).
    #[error("a close reason that is not UTF-8")]
    CloseReason,
    /// A text is not UTF-8 (§8.1).
    #[error("a text that is not UTF-8")]
    Text,
    /// A message, all its fragments together, over the limit (§7.4.1, 1009).
    #[error("a message over the limit")]
    TooBig,
}

impl Violation {
    /// The code to close with.
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::CloseReason | Self::Text => CloseCode::InvalidData,
            Self::TooBig => CloseCode::TooBig,
            _ => CloseCode::Protocol,
        }
    }
}
