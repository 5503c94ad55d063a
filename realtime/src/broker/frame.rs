//! What travels between nodes: `version 1 | kind | node (16) | boot (8) | payload`.
//!
//! Node and boot tell a node its own frames, which it delivered already; the boot id also tells a
//! restarted node from the one before.

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::publication::Kind;

/// The format's version; a frame of another one is not understood and dropped.
const VERSION: u8 = 1;
/// Bytes before the payload.
const HEAD_BYTES: usize = 2 + 16 + 8;

/// Who sent a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    /// The node.
    pub(super) node: Uuid,
    /// Drawn anew at each start.
    pub(super) boot: u64,
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// A client's message.
    Publication(Kind, &'a [u8]),
    /// A node's own probe, with its number; others ignore it.
    Probe(u64),
}

/// Frames in this order of kinds: text, binary, probe.
const TEXT: u8 = 0;
const BINARY: u8 = 1;
const PROBE: u8 = 2;

impl Source {
    /// A source drawn at random.
    pub(super) fn random() -> Self {
        Self { node: Uuid::new_v4(), boot: rand::random() }
    }
}

/// Writes a frame.
pub(super) fn encode(source: Source, content: &Content<'_>) -> Bytes {
    let number;
    let (kind, payload) = match content {
        Content::Publication(kind, payload) => (code(*kind), *payload),
        Content::Probe(probe) => {
            number = probe.to_be_bytes();
            (PROBE, &number[..])
        }
    };
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + payload.len());
    frame.put_u8(VERSION);
    frame.put_u8(kind);
    frame.put_slice(source.node.as_bytes());
    frame.put_u64(source.boot);
    frame.put_slice(payload);
    frame.freeze()
}

/// Whether a frame of ours is a probe.
pub(super) fn is_probe(frame: &[u8]) -> bool {
    frame.get(1) == Some(&PROBE)
}

fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Text => TEXT,
        Kind::Binary => BINARY,
    }
}

/// Reads a frame; `None` when it is not understood.
pub(super) fn decode(frame: &[u8]) -> Option<(Source, Content<'_>)> {
    let (head, payload) = frame.split_first_chunk::<HEAD_BYTES>()?;
    let [VERSION, kind, ids @ ..] = *head else { return None };
    let node = Uuid::from_slice(&ids[..16]).ok()?;
    let boot = u64::from_be_bytes(ids[16..].try_into().ok()?);
    let content = match kind {
        TEXT if std::str::from_utf8(payload).is_ok() => Content::Publication(Kind::Text, payload),
        BINARY => Content::Publication(Kind::Binary, payload),
        PROBE => Content::Probe(u64::from_be_bytes(payload.try_into().ok()?)),
        _ => return None,
    };
    Some((Source { node, boot }, content))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_kind_is_read_back_as_written() {
        let source = Source::random();
        for content in [
            Content::Publication(Kind::Text, "grüße\u{0}".as_bytes()),
            Content::Publication(Kind::Binary, &[0, 255, 128]),
            Content::Publication(Kind::Binary, &[]),
            Content::Probe(7),
        ] {
            let frame = encode(source, &content);
            assert_eq!(is_probe(&frame), matches!(content, Content::Probe(_)));
            assert_eq!(decode(&frame), Some((source, content)));
        }
    }

    #[test]
    fn a_text_that_is_not_utf8_and_an_unknown_version_are_dropped() {
        let binary = Content::Publication(Kind::Binary, &[0xff]);
        let mut frame = encode(Source::random(), &binary).to_vec();
        frame[1] = TEXT;
        assert_eq!(decode(&frame), None);
        frame[1] = BINARY;
        assert!(decode(&frame).is_some());
        frame[0] = VERSION + 1;
        assert_eq!(decode(&frame), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Some((source, content)) = decode(&bytes) {
                prop_assert_eq!(encode(source, &content), bytes);
            }
        }
    }
}
