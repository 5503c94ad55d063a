//! From a client's bytes to its messages.
//!
//! A frame that is whole in the bytes at hand is unmasked where it lies and handed out borrowed:
//! nothing is copied or allocated. Only what is incomplete is kept: up to 13 bytes of a header in
//! the parser itself, payload in a buffer that grows with what has arrived.

#![expect(clippy::mut_mut, reason = "the input is a slice that moves on")]

use std::borrow::Cow;
use std::mem;

use super::utf8::{characters_begun, is_text};
use super::{Control, Frame, Opcode, Violation};
use header::{Allowed, Header, MAX_BYTES};

mod header;

/// Reads one client's frames, however its bytes are cut.
#[derive(Debug)]
pub struct Parser {
    /// The unfinished message so far, unmasked; behind it what has come of a control frame.
    buffer: Vec<u8>,
    /// What the next byte belongs to.
    state: State,
    /// Bytes of a whole message.
    limit: usize,
    /// What kind the unfinished message is.
    message: Option<Kind>,
    /// The bytes at the end of an unfinished text that begin a character, at most three.
    begun: u8,
}

/// What the next byte belongs to.
#[derive(Debug)]
enum State {
    /// A header, of which the first `held` bytes came before.
    Header { bytes: [u8; MAX_BYTES], held: usize },
    /// The payload of a frame: `left` more bytes, the first of them under the first of the mask.
    Payload { header: Header, left: usize },
    /// Nothing: the client has said its last word.
    Closed,
    /// Nothing: a rule was broken.
    Failed(Violation),
}

/// The kinds of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// UTF-8, checked as it comes.
    Text,
    /// Any bytes.
    Binary,
}

impl State {
    /// Before a frame.
    const START: Self = Self::Header { bytes: [0; MAX_BYTES], held: 0 };
}

impl Parser {
    /// A parser at the start of a stream. `limit` is the bytes of a whole message; a control frame
    /// does not count. One frame is below 4 GiB whatever the limit.
    pub const fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), state: State::START, limit, message: None, begun: 0 }
    }

    /// The next message or control frame. `input` is advanced past what it took; its bytes are
    /// unmasked in place. `None`: all of `input` is taken, and more is needed.
    ///
    /// After a Close whatever else comes is dropped.
    ///
    /// # Errors
    /// When the client broke a rule. From then on the same error again.
    pub fn next<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Frame<'a>>, Violation> {
        let next = self.advance(input);
        match next {
            Err(violation) => self.end(State::Failed(violation)),
            Ok(Some(Frame::Close(_))) => self.end(State::Closed),
            Ok(_) => {}
        }
        next
    }

    /// Bytes of memory held for what is incomplete.
    pub fn held(&self) -> usize {
        self.buffer.capacity()
    }

    fn end(&mut self, state: State) {
        self.state = state;
        self.buffer = Vec::new();
        self.message = None;
    }

    fn advance<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Frame<'a>>, Violation> {
        loop {
            match self.state {
                State::Closed => {
                    *input = &mut [];
                    return Ok(None);
                }
                State::Failed(violation) => return Err(violation),
                State::Header { .. } => {
                    let Some(header) = self.header(input)? else { return Ok(None) };
                    if header.stands_alone()
                        && let Some(payload) = input.split_off_mut(..header.length as usize)
                    {
                        return whole(header, payload).map(Some);
                    }
                    self.begin(header);
                }
                State::Payload { header, left } => {
                    if !self.collect(header, left, input)? {
                        return Ok(None);
                    }
                    if let Some(frame) = self.finish(header)? {
                        return Ok(Some(frame));
                    }
                }
            }
        }
    }

    /// Takes a header, or what there is of it.
    #[inline]
    fn header(&mut self, input: &mut &mut [u8]) -> Result<Option<Header>, Violation> {
        let State::Header { bytes, held } = &mut self.state else { return Ok(None) };
        // Before a header, `buffer` has the message alone, which is within the limit.
        let allowed = Allowed {
            in_message: self.message.is_some(),
            room: self.limit.saturating_sub(self.buffer.len()),
        };
        if *held == 0
            && let Some((header, length)) = Header::read(input, allowed)?
        {
            skip(input, length);
            return Ok(Some(header));
        }
        let fill = input.len().min(MAX_BYTES - *held);
        bytes[*held..*held + fill].copy_from_slice(&input[..fill]);
        let Some((header, length)) = Header::read(&bytes[..*held + fill], allowed)? else {
            // As many as the array holds would have been a header: it has all of the input.
            skip(input, fill);
            *held += fill;
            return Ok(None);
        };
        skip(input, length - *held);
        *held = 0;
        Ok(Some(header))
    }

    /// From here the payload is collected.
    fn begin(&mut self, header: Header) {
        match header.opcode {
            Some(Opcode::Text) => self.message = Some(Kind::Text),
            Some(Opcode::Binary) => self.message = Some(Kind::Binary),
            _ => {}
        }
        self.state = State::Payload { header, left: header.length as usize };
    }

    /// Takes what there is of the payload; whether that was all of it.
    fn collect(
        &mut self,
        mut header: Header,
        left: usize,
        input: &mut &mut [u8],
    ) -> Result<bool, Violation> {
        let bytes = input.split_off_mut(..left).unwrap_or_else(|| mem::take(input));
        unmask(bytes, header.mask);
        self.grow(bytes.len(), left, header.last);
        self.buffer.extend_from_slice(bytes);
        header.mask.rotate_left(bytes.len() % 4);
        let left = left - bytes.len();
        self.state = State::Payload { header, left };
        if !header.is_control() && self.message == Some(Kind::Text) {
            let unchecked = usize::from(self.begun) + bytes.len();
            self.begun = characters_begun(&self.buffer[self.buffer.len() - unchecked..])
                .ok_or(Violation::Text)?;
        }
        Ok(left == 0)
    }

    /// Makes room for `taken` more of the `left` bytes of a frame. At most doubles what is held, and
    /// never beyond what the message can become: a header alone allocates nothing.
    fn grow(&mut self, taken: usize, left: usize, last: bool) {
        let held = self.buffer.len();
        if self.buffer.capacity() - held < taken {
            // Behind a fragment others may follow: growing to its end only would copy the whole
            // message for each of many small ones.
            let most = if last { left } else { self.limit - held };
            self.buffer.reserve_exact(taken.max(held).min(most));
        }
    }

    /// A frame has been collected: what it completes, if anything.
    fn finish(&mut self, header: Header) -> Result<Option<Frame<'static>>, Violation> {
        self.state = State::START;
        match header.opcode {
            Some(opcode) if opcode.is_control() => {
                let start = self.buffer.len() - header.length as usize;
                let frame = control(opcode, &self.buffer[start..])?;
                self.buffer.truncate(start);
                if start == 0 {
                    self.buffer = Vec::new();
                }
                Ok(Some(frame))
            }
            _ if !header.last => Ok(None),
            _ if self.begun > 0 => Err(Violation::Text),
            _ => {
                let message = Cow::Owned(mem::take(&mut self.buffer));
                Ok(Some(match self.message.take() {
                    Some(Kind::Text) => Frame::Text(message),
                    Some(Kind::Binary) | None => Frame::Binary(message),
                }))
            }
        }
    }
}

/// A frame that came whole and stands alone.
#[inline]
fn whole(header: Header, payload: &mut [u8]) -> Result<Frame<'_>, Violation> {
    unmask(payload, header.mask);
    match header.opcode {
        Some(Opcode::Text) if is_text(payload) => Ok(Frame::Text(Cow::Borrowed(payload))),
        Some(Opcode::Text) => Err(Violation::Text),
        Some(Opcode::Binary) | None => Ok(Frame::Binary(Cow::Borrowed(payload))),
        Some(opcode) => control(opcode, payload),
    }
}

fn control(opcode: Opcode, payload: &[u8]) -> Result<Frame<'static>, Violation> {
    match opcode {
        Opcode::Ping => Ok(Frame::Ping(Control(payload.into()))),
        Opcode::Close => close(payload).map(Frame::Close),
        _ => Ok(Frame::Pong),
    }
}

fn close(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(Violation::ShortClose),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !may_be_sent(code) {
        return Err(Violation::CloseCode);
    }
    if !is_text(reason) {
        return Err(Violation::CloseReason);
    }
    Ok(Some(code))
}

/// RFC 6455 §7.4 and IANA's "WebSocket Close Code Number Registry": 1004 is reserved, 1005, 1006
/// and 1015 are never on the wire, up to 2999 nothing else is assigned, 3000 to 4999 are free.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[inline]
fn skip(input: &mut &mut [u8], bytes: usize) {
    *input = &mut mem::take(input)[bytes..];
}

/// Takes the mask off, a word at a time.
#[inline]
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (index, byte) in rest.iter_mut().enumerate() {
        *byte ^= mask[index % 4];
    }
}
