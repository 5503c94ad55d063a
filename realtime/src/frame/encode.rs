//! Frames as a server writes them: whole and without a mask, so one encoding serves every client.

use super::{CONTROL_BYTES, Opcode};

/// The longest header: two bytes and a length of eight.
pub const HEADER_BYTES: usize = 10;

/// Appends one frame to `out`.
///
/// A control frame's payload is at most [`CONTROL_BYTES`].
pub fn append(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    debug_assert!(!opcode.is_control() || payload.len() <= CONTROL_BYTES);
    let (header, length) = header(opcode, payload.len());
    out.reserve(length + payload.len());
    out.extend_from_slice(&header[..length]);
    out.extend_from_slice(payload);
}

/// The header of a frame with `payload` bytes, and how many of the array it takes.
pub fn header(opcode: Opcode, payload: usize) -> ([u8; HEADER_BYTES], usize) {
    let mut header = [0; HEADER_BYTES];
    header[0] = 0x80 | opcode as u8;
    // The narrowing keeps the value: each arm's length fits.
    #[expect(clippy::cast_possible_truncation, reason = "the pattern bounds it")]
    let length = match payload {
        0..=125 => {
            header[1] = payload as u8;
            2
        }
        126..=0xffff => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(payload as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(payload as u64).to_be_bytes());
            HEADER_BYTES
        }
    };
    (header, length)
}

/// Appends a Close with a code and a reason, cut to what a control frame holds.
///
/// A Close without a code is `append(out, Opcode::Close, &[])`.
pub fn close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(CONTROL_BYTES - 2)];
    let (header, length) = header(Opcode::Close, 2 + reason.len());
    out.extend_from_slice(&header[..length]);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// How many bytes a frame with `payload` bytes takes.
pub fn size(payload: usize) -> usize {
    payload
        + match payload {
            0..=125 => 2,
            126..=0xffff => 4,
            _ => HEADER_BYTES,
        }
}
