//! WebSocket frames (RFC 6455 §5) as a client needs them: its own are masked and short, a server's are
//! read in place.

use anyhow::{bail, ensure};

/// A whole text message.
pub(crate) const TEXT: u8 = 0x1;
/// A whole binary message.
pub(crate) const BINARY: u8 = 0x2;
/// The end of the connection; its first two bytes are a code.
pub(crate) const CLOSE: u8 = 0x8;
/// Asks for a Pong.
pub(crate) const PING: u8 = 0x9;
/// Answers a Ping.
pub(crate) const PONG: u8 = 0xA;

/// The bits for "last frame of its message" and the three reserved ones.
const FLAGS: u8 = 0xF0;

/// "Last frame of its message" alone.
const FINAL: u8 = 0x80;

/// The bit for "masked", in the second byte.
const MASKED: u8 = 0x80;

/// In place of a length: it follows in two bytes.
const TWO_BYTES: u8 = 0x7E;

/// In place of a length: it follows in eight bytes.
const EIGHT_BYTES: u8 = 0x7F;

/// The mask of every frame sent. A fixed one is enough: no proxy is to be protected here.
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// The largest payload that is sent or taken.
pub(crate) const LARGEST: usize = 1 << 16;

/// A server's frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// What it is.
    pub(crate) opcode: u8,
    /// What it carries.
    pub(crate) payload: &'a [u8],
    /// Bytes of header and payload together.
    pub(crate) size: usize,
}

/// The first frame, once it is whole.
///
/// # Errors
/// If it is one that a server may not send, or that this client does not take: a part of a message,
/// or more than [`LARGEST`].
#[inline]
pub(crate) fn first(bytes: &[u8]) -> anyhow::Result<Option<Frame<'_>>> {
    let [head, second, ..] = *bytes else { return Ok(None) };
    let (start, length) = match second {
        0..=125 => (2, usize::from(second)),
        TWO_BYTES => match bytes {
            [_, _, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
            _ => return Ok(None),
        },
        EIGHT_BYTES => match bytes.get(2..10) {
            Some(length) => (10, long(length)?),
            None => return Ok(None),
        },
        _ => bail!("the server masks its frames"),
    };
    ensure!(head & FLAGS == FINAL, "a frame in parts, or with reserved bits");
    let size = start + length;
    Ok(bytes.get(start..size).map(|payload| Frame { opcode: head & !FLAGS, payload, size }))
}

/// A length of eight bytes.
fn long(bytes: &[u8]) -> anyhow::Result<usize> {
    let length = bytes.iter().fold(0_u64, |length, byte| (length << 8) | u64::from(*byte));
    let length = usize::try_from(length)?;
    ensure!(length <= LARGEST, "a message of {length} bytes");
    Ok(length)
}

/// Adds a client's frame to what is to be written.
///
/// # Panics
/// If the payload is larger than [`LARGEST`].
pub(crate) fn add(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    assert!(payload.len() <= LARGEST, "the callers send small messages");
    out.push(FINAL | opcode);
    let length = payload.len();
    if let Ok(short @ 0..=125) = u8::try_from(length) {
        out.push(MASKED | short);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(MASKED | TWO_BYTES);
        out.extend(length.to_be_bytes());
    } else {
        out.push(MASKED | EIGHT_BYTES);
        out.extend((length as u64).to_be_bytes());
    }
    out.extend(MASK);
    let start = out.len();
    out.extend_from_slice(payload);
    for chunk in out[start..].chunks_mut(MASK.len()) {
        for (byte, mask) in chunk.iter_mut().zip(MASK) {
            *byte ^= mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};
    use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};

    use super::*;

    #[test]
    fn a_real_server_reads_what_is_sent() {
        for length in [0, 1, 125, 126, 1000, 65_535, 65_536] {
            let mut out = Vec::new();
            let payload = vec![b'x'; length];
            add(&mut out, TEXT, &payload);
            let stream = std::io::Cursor::new(out);
            let mut server = WebSocket::from_raw_socket(stream, Role::Server, None);
            assert_eq!(server.read().unwrap(), Message::text("x".repeat(length)));
        }
    }

    #[test]
    fn what_a_real_server_sends_is_read_whole_and_in_parts() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let config = WebSocketConfig::default();
            let stream = std::io::Cursor::new(Vec::new());
            let mut server = WebSocket::from_raw_socket(stream, Role::Server, Some(config));
            server.send(Message::binary(vec![7; length])).unwrap();
            let bytes = server.get_ref().get_ref().clone();
            let frame = first(&bytes).unwrap().unwrap();
            assert_eq!((frame.opcode, frame.size), (BINARY, bytes.len()));
            assert_eq!(frame.payload, vec![7; length]);
            for part in [0, 1, 2, 3, 9, bytes.len() - 1] {
                let part = part.min(bytes.len() - 1);
                assert_eq!(first(&bytes[..part]).unwrap(), None);
            }
        }
    }

    #[test]
    fn frames_that_break_the_rules_are_errors() {
        for bytes in [
            &[0x81, 0x80, 0, 0, 0, 0][..],
            &[0x01, 0],
            &[0xC1, 0],
            &[0x82, 127, 0, 0, 0, 0, 0, 2, 0, 0],
        ] {
            assert!(first(bytes).is_err(), "{bytes:?}");
        }
    }
}
