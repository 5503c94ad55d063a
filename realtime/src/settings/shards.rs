//! The threads that carry the sockets.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use shared::settings::{Bytes, Reader, Value};

/// More threads than any machine has cores.
const MOST: usize = 1024;

/// The threads that carry the sockets.
#[derive(Debug, Clone)]
pub struct Shards {
    /// `SHARDS`: how many.
    pub count: Count,
    /// `SHARD_BYTES`: what may be under way from one to another.
    pub bytes: Bytes,
}

/// How many shards a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// One for each core.
    Auto,
    /// So many.
    Number(NonZeroUsize),
}

impl Shards {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            count: reader.get(
                "SHARDS",
                "auto",
                "Threads that carry the sockets. `auto` is one for each core.",
            ),
            bytes: reader.get(
                "SHARD_BYTES",
                "1 MiB",
                "What may be under way from one of these threads to another; beyond it the clients of the first that publish are not read until the other has caught up. The more it is, the longer a message waits behind a flood.",
            ),
        }
    }

    pub(super) fn check(&self, message: Bytes, reader: &mut Reader) {
        if message.0.saturating_mul(4) > self.bytes.0 {
            reader.refuse("SHARD_BYTES must be at least four times MESSAGE_BYTES");
        }
    }
}

impl Count {
    /// The number.
    pub fn resolve(self) -> usize {
        match self {
            // Where the system does not say, one is never wrong.
            Self::Auto => available_parallelism().map_or(1, NonZeroUsize::get),
            Self::Number(count) => count.get(),
        }
    }
}

impl Value for Count {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => match text.parse() {
                Ok(count) if NonZeroUsize::get(count) <= MOST => Ok(Self::Number(count)),
                _ => Err(format!("a whole number from 1 to {MOST}, or `auto`")),
            },
        }
    }
}
