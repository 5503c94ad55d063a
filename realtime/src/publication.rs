//! What is broadcast: a client's text or binary message, as it came.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::queue::Cost;

/// A plain message on its way to every plain client. Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publication {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
}

impl Publication {
    /// The message a client sent, if it is one to broadcast.
    ///
    /// The payload is copied once, here: it would otherwise hold on to the sender's whole read
    /// buffer for as long as the slowest reader's queue keeps it.
    pub fn from_message(message: &Message) -> Option<Self> {
        match message {
            Message::Text(text) => Some(Self::Text(text.as_str().to_owned().into())),
            Message::Binary(bytes) => Some(Self::Binary(Bytes::copy_from_slice(bytes))),
            _ => None,
        }
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl From<Publication> for Message {
    fn from(publication: Publication) -> Self {
        match publication {
            Publication::Text(text) => Self::Text(text),
            Publication::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

impl Cost for Publication {
    fn bytes(&self) -> usize {
        self.payload().len()
    }
}
