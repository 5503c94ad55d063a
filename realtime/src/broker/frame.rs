//! What travels between nodes: `version 1 | kind | node (16) | boot (8) | payload`.
//!
//! Node and boot tell a node its own frames, which it delivered already; the boot id also tells a
//! restarted node from the one before.

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::publication::Publication;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A client's message.
    Publication(Publication),
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
pub(super) fn encode(source: Source, content: &Content) -> Bytes {
    let number;
    let (kind, payload) = match content {
        Content::Publication(publication @ Publication::Text(_)) => (TEXT, publication.payload()),
        Content::Publication(publication @ Publication::Binary(_)) => {
            (BINARY, publication.payload())
        }
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

/// Reads a frame; `None` when it is not understood.
pub(super) fn decode(frame: &Bytes) -> Option<(Source, Content)> {
    let (head, _) = frame.split_first_chunk::<HEAD_BYTES>()?;
    let [VERSION, kind, ids @ ..] = *head else { return None };
    let node = Uuid::from_slice(&ids[..16]).ok()?;
    let boot = u64::from_be_bytes(ids[16..].try_into().ok()?);
    let payload = frame.slice(HEAD_BYTES..);
    let content = match kind {
        TEXT => Content::Publication(Publication::Text(payload.try_into().ok()?)),
        BINARY => Content::Publication(Publication::Binary(payload)),
        PROBE => Content::Probe(u64::from_be_bytes(payload.as_ref().try_into().ok()?)),
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
            Content::Publication(Publication::Text("grüße\u{0}".into())),
            Content::Publication(Publication::Binary(Bytes::from_static(&[0, 255, 128]))),
            Content::Publication(Publication::Binary(Bytes::new())),
            Content::Probe(7),
        ] {
            let frame = encode(source, &content);
            assert_eq!(is_probe(&frame), matches!(content, Content::Probe(_)));
            assert_eq!(decode(&frame), Some((source, content)));
        }
    }

    #[test]
    fn a_text_that_is_not_utf8_and_an_unknown_version_are_dropped() {
        let binary = Content::Publication(Publication::Binary(Bytes::from_static(&[0xff])));
        let mut frame = encode(Source::random(), &binary).to_vec();
        frame[1] = TEXT;
        assert_eq!(decode(&frame.clone().into()), None);
        frame[1] = BINARY;
        assert!(decode(&frame.clone().into()).is_some());
        frame[0] = VERSION + 1;
        assert_eq!(decode(&frame.into()), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let bytes = Bytes::from(bytes);
            if let Some((source, content)) = decode(&bytes) {
                prop_assert_eq!(encode(source, &content), bytes);
            }
        }
    }
}
