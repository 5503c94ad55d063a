//! What is broadcast: a client's text or binary message, as it came.

use bytes::Bytes;

use crate::frame::Opcode;

/// How a message is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Bytes.
    Binary,
}

impl Kind {
    /// The opcode of a frame with such a message.
    pub fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

/// A plain message on its way to every plain client. Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// How it is to be read.
    pub kind: Kind,
    /// The message; valid UTF-8 if it is a text.
    pub payload: Bytes,
}
