//! Our framing beside tungstenite's. Each public function takes bytes that mean nothing, so that a
//! fuzzer can drive it as well as a seeded generator (`realtime/fuzz`, `property.rs`).
//!
//! Both must see the same frames and end with the same code, except that
//! - tungstenite waits for the end of a frame where we refuse at the byte that shows the fault; so
//!   it is given zeros behind it;
//! - of a frame that is against the rules and over the limit too, it sees the limit first: 1009;
//! - it takes lengths that are not in their shortest form;
//! - it answers a close code that must not be sent, instead of failing, and thinks so of 1014,
//!   which IANA has assigned since; and it looks at the reason before the code.

use std::io::{Cursor, Read, Write};

use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame as Fragment};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes, WebSocket, error::ProtocolError};

use super::source::{Source, cuts};
use crate::frame::{CONTROL_BYTES, Frame, Opcode, Parser, Violation, encode};

/// The limit where streams may break it.
const LOW: usize = 1000;
/// The limit where they must not: over the longest of [`Source::long`].
const HIGH: usize = 1 << 20;

/// What a reader made of a frame.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

/// How tungstenite's reading ended.
#[derive(Debug, PartialEq)]
enum End {
    /// Waiting for more.
    Open,
    /// After a Close.
    Closed,
    /// Refusing, with this code.
    Refused(u16),
}

/// A stream that came whole; what is written is kept.
struct Wire {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.input.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn tungstenite(input: Vec<u8>, role: Role, limit: usize) -> WebSocket<Wire> {
    let wire = Wire { input: Cursor::new(input), output: Vec::new() };
    let config = WebSocketConfig::default()
        .max_frame_size(Some(limit))
        .max_message_size(Some(limit))
        .read_buffer_size(4096);
    WebSocket::from_raw_socket(wire, role, Some(config))
}

/// What tungstenite makes of a stream.
fn theirs(bytes: Vec<u8>, role: Role, limit: usize) -> (Vec<Seen>, End) {
    let mut socket = tungstenite(bytes, role, limit);
    let mut seen = Vec::new();
    loop {
        seen.push(match socket.read() {
            Ok(Message::Text(text)) => Seen::Text(text.as_bytes().into()),
            Ok(Message::Binary(bytes)) => Seen::Binary(bytes.into()),
            Ok(Message::Ping(bytes)) => Seen::Ping(bytes.into()),
            Ok(Message::Pong(_)) => Seen::Pong,
            Ok(Message::Close(frame)) => Seen::Close(frame.map(|frame| frame.code.into())),
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return (seen, End::Open);
            }
            Err(Error::ConnectionClosed) => return (seen, End::Closed),
            Err(Error::Protocol(_)) => return (seen, End::Refused(1002)),
            Err(Error::Utf8(_)) => return (seen, End::Refused(1007)),
            Err(Error::Capacity(_)) => return (seen, End::Refused(1009)),
            Err(error) => panic!("{error}"),
        });
    }
}

/// What our parser makes of a stream that comes in pieces of these lengths.
fn ours(
    bytes: &[u8],
    pieces: impl Iterator<Item = usize>,
    limit: usize,
) -> (Vec<Seen>, Result<(), Violation>) {
    let (mut parser, mut seen) = (Parser::new(limit), Vec::new());
    let mut bytes = bytes.to_vec();
    let (mut rest, mut came) = (&mut bytes[..], 0);
    for piece in pieces {
        let piece = piece.min(rest.len());
        let (mut input, behind) = rest.split_at_mut(piece);
        (rest, came) = (behind, came + piece);
        loop {
            match parser.next(&mut input) {
                Ok(Some(frame)) => seen.push(owned(frame)),
                Ok(None) => break,
                Err(violation) => return (seen, Err(violation)),
            }
        }
        assert!(input.is_empty());
        assert!(parser.held() <= (2 * came).min(limit + CONTROL_BYTES), "{}", parser.held());
        if rest.is_empty() {
            break;
        }
    }
    (seen, Ok(()))
}

fn owned(frame: Frame<'_>) -> Seen {
    match frame {
        Frame::Text(bytes) => Seen::Text(bytes.into()),
        Frame::Binary(bytes) => Seen::Binary(bytes.into()),
        Frame::Ping(bytes) => Seen::Ping(bytes.to_vec()),
        Frame::Pong => Seen::Pong,
        Frame::Close(code) => Seen::Close(code),
    }
}

/// What our parser makes of a stream, however it is cut.
fn ours_however_cut(bytes: &[u8], limit: usize) -> (Vec<Seen>, Result<(), Violation>) {
    let whole = ours(bytes, std::iter::once(bytes.len()), limit);
    assert_eq!(ours(bytes, std::iter::repeat(1), limit), whole, "byte by byte");
    assert_eq!(ours(bytes, cuts(bytes), limit), whole, "cut at random");
    whole
}

/// What the lengths of the frames that tungstenite comes to are like.
#[derive(Default)]
struct Lengths {
    /// One announces more than the limit.
    too_much: bool,
    /// One is not in its shortest form.
    too_long: bool,
}

impl Lengths {
    fn of(mut bytes: &[u8]) -> Self {
        let mut lengths = Self::default();
        while let [_, second, rest @ ..] = bytes {
            let short = usize::from(second & 0x7f);
            let (form, least) = match short {
                126 => (2, 126),
                127 => (8, 0x1_0000),
                _ => (0, 0),
            };
            let Some((length, rest)) = rest.split_at_checked(form) else { break };
            let long = length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
            let length = if form == 0 { short } else { long };
            lengths.too_long |= length < least;
            lengths.too_much |= length > LOW;
            let mask = if second & 0x80 == 0 { 0 } else { 4 };
            match rest.get(mask..).and_then(|rest| rest.get(length..)) {
                Some(behind) if !lengths.too_much => bytes = behind,
                _ => break,
            }
        }
        lengths
    }
}

/// The same bytes as a client's stream: the same frames, the same end.
///
/// # Panics
/// When they differ.
pub(crate) fn agree(bytes: &[u8]) {
    let (mut seen, end) = ours_however_cut(bytes, LOW);
    let Err(violation) = end else {
        let end = if matches!(seen.last(), Some(Seen::Close(_))) { End::Closed } else { End::Open };
        if let Some(Seen::Close(Some(code @ 1014))) = seen.last_mut() {
            *code = 1002;
        }
        assert_eq!(theirs(bytes.into(), Role::Server, LOW), (seen, end));
        return;
    };
    let padded = [bytes, &[0; 14 + LOW]].concat();
    let Lengths { too_much, too_long } = Lengths::of(&padded);
    let (their_seen, their_end) = theirs(padded, Role::Server, LOW);
    assert!(their_seen.starts_with(&seen), "{their_seen:?} {seen:?}");
    let further = &their_seen[seen.len()..];
    match (violation, further, their_end) {
        (Violation::CloseCode, [Seen::Close(Some(1002))], End::Closed)
        | (Violation::CloseCode, [], End::Refused(1007)) => {}
        (Violation::LongLength | Violation::LongControl, ..) if too_long => {}
        (_, [], End::Refused(code)) if code == violation.close_code().number() => {}
        (_, [], End::Refused(1009)) if violation.close_code().number() == 1002 && too_much => {}
        (_, further, end) => panic!("{violation:?}, but {further:?} {end:?}"),
    }
}

/// Frames that `data` describes, most of them as they should be, then with a bit flipped: see
/// [`agree`].
///
/// # Panics
/// When the two readers differ.
pub(crate) fn agree_on_frames(data: &[u8]) {
    let mut source = Source::new(data);
    let flip = source.below(1 << 16);
    let mut stream = source.frames();
    agree(&stream);
    let length = stream.len().max(1);
    if let Some(byte) = stream.get_mut(flip % length) {
        *byte ^= 1 << (flip % 8);
        agree(&stream);
    }
}

/// Messages that `data` describes, written by tungstenite's client, are read as they were meant.
///
/// # Panics
/// When something else is read.
pub(crate) fn read_what_a_client_writes(data: &[u8]) {
    let mut source = Source::new(data);
    let mut client = tungstenite(Vec::new(), Role::Client, HIGH);
    let mut meant = Vec::new();
    while let Some(choice) = source.next() {
        match choice % 8 {
            0 => write(&mut client, &mut meant, Seen::Ping(source.bytes(CONTROL_BYTES))),
            1 => write(&mut client, &mut meant, Seen::Pong),
            2..5 => write_fragments(&mut client, &mut meant, &mut source),
            5 | 6 => write(&mut client, &mut meant, Seen::Text(source.text().into_bytes())),
            _ => write(&mut client, &mut meant, Seen::Binary(source.long())),
        }
    }
    write(&mut client, &mut meant, Seen::Close(Some(3000)));
    assert_eq!(ours_however_cut(&client.get_ref().output, HIGH), (meant, Ok(())));
}

fn write(client: &mut WebSocket<Wire>, meant: &mut Vec<Seen>, seen: Seen) {
    client.send(message(seen.clone())).expect("memory takes everything");
    meant.push(seen);
}

fn message(seen: Seen) -> Message {
    match seen {
        Seen::Text(bytes) => Message::Text(Utf8Bytes::try_from(bytes).expect("it is a text")),
        Seen::Binary(bytes) => Message::Binary(bytes.into()),
        Seen::Ping(bytes) => Message::Ping(bytes.into()),
        Seen::Pong => Message::Pong(vec![1].into()),
        Seen::Close(code) => Message::Close(code.map(|code| CloseFrame {
            code: CloseCode::from(code),
            reason: "gr\u{fc}\u{df}e".into(),
        })),
    }
}

/// A text in fragments of any lengths, with Pings in between.
fn write_fragments(client: &mut WebSocket<Wire>, meant: &mut Vec<Seen>, source: &mut Source<'_>) {
    let text = source.text().into_bytes();
    let mut rest = &text[..];
    let mut opcode = OpCode::Data(Data::Text);
    for _ in 0..source.next().unwrap_or(0) % 8 {
        let (piece, behind) = rest.split_at(source.below(rest.len() + 1));
        let fragment = Fragment::message(piece.to_vec(), opcode, false);
        client.send(Message::Frame(fragment)).expect("memory takes everything");
        (rest, opcode) = (behind, OpCode::Data(Data::Continue));
        if source.next().unwrap_or(0) & 1 == 1 {
            write(client, meant, Seen::Ping(vec![0xff; 3]));
        }
    }
    let fragment = Fragment::message(rest.to_vec(), opcode, true);
    client.send(Message::Frame(fragment)).expect("memory takes everything");
    meant.push(Seen::Text(text));
}

/// Messages that `data` describes, encoded by us, are what tungstenite's client reads.
///
/// # Panics
/// When it reads something else.
pub(crate) fn a_client_reads_what_is_encoded(data: &[u8]) {
    let mut source = Source::new(data);
    let (mut out, mut meant) = (Vec::new(), Vec::new());
    while let Some(choice) = source.next() {
        let before = out.len();
        let (opcode, payload, seen): (_, _, fn(Vec<u8>) -> Seen) = match choice % 4 {
            0 => (Opcode::Ping, source.bytes(CONTROL_BYTES), Seen::Ping),
            1 => (Opcode::Pong, source.bytes(CONTROL_BYTES), |_| Seen::Pong),
            2 => (Opcode::Text, source.text().into_bytes(), Seen::Text),
            _ => (Opcode::Binary, source.long(), Seen::Binary),
        };
        encode::append(&mut out, opcode, &payload);
        assert_eq!(out.len() - before, encode::size(payload.len()));
        meant.push(seen(payload));
    }
    encode::close(&mut out, 1012, &source.text());
    meant.push(Seen::Close(Some(1012)));
    // A client waits for the server to end the stream.
    assert_eq!(theirs(out, Role::Client, HIGH), (meant, End::Closed));
}
