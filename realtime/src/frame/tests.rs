//! Each rule of the framing by itself.

mod memory;
mod property;
mod reference;
mod source;
mod text;

use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A client's frame with these first bytes, then the mask and the masked payload.
fn masked(head: &[u8], payload: &[u8]) -> Vec<u8> {
    let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    head.iter().copied().chain(MASK).chain(masked).collect()
}

/// A short frame: its first byte and payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    masked(&[first, 0x80 | u8::try_from(payload.len()).unwrap()], payload)
}

/// What a parser with this limit makes of one input.
fn parse_within(limit: usize, mut bytes: Vec<u8>) -> (Vec<Frame<'static>>, Result<(), Violation>) {
    let (mut parser, mut input, mut frames) = (Parser::new(limit), &mut bytes[..], Vec::new());
    loop {
        match parser.next(&mut input) {
            Ok(Some(frame)) => frames.push(owned(frame)),
            Ok(None) => return (frames, Ok(())),
            Err(violation) => return (frames, Err(violation)),
        }
    }
}

fn owned(frame: Frame<'_>) -> Frame<'static> {
    match frame {
        Frame::Text(bytes) => Frame::Text(Cow::Owned(bytes.into_owned())),
        Frame::Binary(bytes) => Frame::Binary(Cow::Owned(bytes.into_owned())),
        Frame::Ping(bytes) => Frame::Ping(bytes),
        Frame::Pong => Frame::Pong,
        Frame::Close(code) => Frame::Close(code),
    }
}

/// The frames in these bytes, which break no rule.
fn frames(bytes: Vec<u8>) -> Vec<Frame<'static>> {
    let (frames, end) = parse_within(1 << 20, bytes);
    assert_eq!(end, Ok(()));
    frames
}

/// The rule these bytes break, nothing having come before.
fn violation(bytes: Vec<u8>) -> Violation {
    let (frames, end) = parse_within(1000, bytes);
    assert_eq!(frames, []);
    end.unwrap_err()
}

fn text(text: &str) -> Frame<'static> {
    Frame::Text(Cow::Owned(text.into()))
}

fn binary(bytes: &[u8]) -> Frame<'static> {
    Frame::Binary(Cow::Owned(bytes.into()))
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    // RFC 6455 §5.7, masked: "Hello" whole, then in two fragments.
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(frames(hello.into()), [text("Hello")]);
    assert_eq!(frames([frame(0x01, b"He"), frame(0x80, b"llo")].concat()), [text("Hello")]);
    let (mut parser, mut ping) = (Parser::new(10), frame(0x89, b"Hello"));
    let Ok(Some(Frame::Ping(payload))) = parser.next(&mut &mut ping[..]) else { panic!() };
    assert_eq!(&*payload, b"Hello");
}

#[test]
fn each_form_of_the_length_is_read() {
    for length in [0, 1, 125, 126, 127, 0xffff, 0x1_0000, 0x1_0001] {
        let payload = vec![b'x'; length];
        let (mut head, taken) = encode::header(Opcode::Binary, length);
        head[1] |= 0x80;
        assert_eq!(frames(masked(&head[..taken], &payload)), [binary(&payload)], "{length}");
    }
}

#[test]
fn reserved_bits_and_opcodes_are_refused() {
    for bit in [0x40, 0x20, 0x10] {
        assert_eq!(violation(vec![0x81 | bit]), Violation::ReservedBit);
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(violation(vec![0x80 | opcode]), Violation::ReservedOpcode);
        assert_eq!(violation(vec![opcode]), Violation::ReservedOpcode);
    }
}

#[test]
fn a_frame_without_a_mask_is_refused() {
    for first in [0x81, 0x82, 0x88, 0x89, 0x8a, 0x01] {
        assert_eq!(violation(vec![first, 0x00]), Violation::Unmasked);
    }
}

#[test]
fn a_control_frame_is_short_and_whole() {
    for opcode in [0x8, 0x9, 0xa] {
        assert_eq!(violation(vec![opcode]), Violation::FragmentedControl);
        for length in [126, 127] {
            assert_eq!(violation(vec![0x80 | opcode, 0x80 | length]), Violation::LongControl);
        }
    }
    let longest = frames(frame(0x89, &[7; CONTROL_BYTES]));
    assert_eq!(longest, [Frame::Ping(Control([7; CONTROL_BYTES].into()))]);
}

#[test]
fn control_frames_come_between_fragments() {
    let pieces = [
        frame(0x01, b"a"),
        frame(0x89, b"?"),
        frame(0x00, b""),
        frame(0x8a, b"!"),
        frame(0x80, b"b"),
        frame(0x02, b""),
        frame(0x88, b""),
    ];
    let ping = Frame::Ping(Control((*b"?").into()));
    assert_eq!(frames(pieces.concat()), [ping, Frame::Pong, text("ab"), Frame::Close(None)]);
}

#[test]
fn fragments_come_in_order() {
    for continuation in [0x00, 0x80] {
        assert_eq!(violation(vec![continuation]), Violation::NothingToContinue);
    }
    for begun in [0x01, 0x02] {
        for new in [0x01, 0x02, 0x81, 0x82] {
            let bytes = [frame(begun, b"a"), vec![new]].concat();
            assert_eq!(violation(bytes), Violation::Unfinished);
        }
    }
}

#[test]
fn a_length_is_in_its_shortest_form() {
    for length in [0u16, 1, 125] {
        let head = [&[0x82, 0xfe][..], &length.to_be_bytes()].concat();
        assert_eq!(violation(head), Violation::LongLength);
    }
    for length in [0u64, 125, 126, 0xffff] {
        let head = [&[0x82, 0xff][..], &length.to_be_bytes()].concat();
        assert_eq!(violation(head), Violation::LongLength);
    }
    assert_eq!(violation(vec![0x82, 0xff, 0x80]), Violation::HugeLength);
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_header() {
    let within = |limit, bytes| parse_within(limit, bytes).1;
    assert_eq!(within(10, frame(0x82, &[0; 10])), Ok(()));
    assert_eq!(within(10, vec![0x82, 0x8b]), Err(Violation::TooBig));
    assert_eq!(within(1000, vec![0x82, 0xfe, 0x03, 0xe9]), Err(Violation::TooBig));
    let huge = vec![0x82, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(within(usize::MAX, huge), Err(Violation::TooBig));
    // A control frame is not a message.
    assert_eq!(within(0, frame(0x89, &[0; 125])), Ok(()));
}

#[test]
fn the_fragments_of_a_message_count_together() {
    let begun = [frame(0x02, &[0; 6]), frame(0x00, &[0; 3]), frame(0x89, &[0; 99])].concat();
    let fits = [begun.clone(), frame(0x80, &[0; 1])].concat();
    assert_eq!(
        parse_within(10, fits),
        (vec![Frame::Ping(Control([0; 99].into())), binary(&[0; 10])], Ok(()))
    );
    let over = [begun, vec![0x80, 0x82]].concat();
    assert_eq!(parse_within(10, over).1, Err(Violation::TooBig));
    // The next message has the whole limit again.
    let two = [frame(0x02, &[0; 9]), frame(0x80, &[0; 1]), frame(0x02, &[0; 10])].concat();
    assert_eq!(parse_within(10, two), (vec![binary(&[0; 10])], Ok(())));
}

#[test]
fn a_close_has_a_code_that_may_be_sent() {
    let close = |code: u16| parse_within(0, frame(0x88, &code.to_be_bytes()));
    for code in 0..=u16::MAX {
        // RFC 6455 §7.4.1 and the IANA registry, and the ranges of §7.4.2.
        let registered = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
        if registered.contains(&code) || (3000..5000).contains(&code) {
            assert_eq!(close(code), (vec![Frame::Close(Some(code))], Ok(())));
        } else {
            assert_eq!(close(code), (vec![], Err(Violation::CloseCode)), "{code}");
        }
    }
    assert_eq!(frames(frame(0x88, b"")), [Frame::Close(None)]);
    assert_eq!(violation(frame(0x88, b"\x03")), Violation::ShortClose);
}

#[test]
fn after_a_close_nothing_is_handed_out() {
    let bytes = [frame(0x02, b"a"), frame(0x88, b""), frame(0x81, b"late"), vec![0xff]].concat();
    let (mut parser, mut bytes) = (Parser::new(100), bytes);
    let mut input = &mut bytes[..];
    assert_eq!(parser.next(&mut input), Ok(Some(Frame::Close(None))));
    assert_eq!(parser.next(&mut input), Ok(None));
    assert_eq!((input.len(), parser.held()), (0, 0));
    assert_eq!(parser.next(&mut &mut frame(0x81, b"later")[..]), Ok(None));
}

#[test]
fn after_a_violation_there_is_only_that_violation() {
    let mut parser = Parser::new(100);
    assert_eq!(parser.next(&mut &mut frame(0x01, b"kept")[..]), Ok(None));
    assert_eq!(parser.next(&mut &mut [0xc1][..]), Err(Violation::ReservedBit));
    assert_eq!(parser.held(), 0);
    assert_eq!(parser.next(&mut &mut frame(0x80, b"fine")[..]), Err(Violation::ReservedBit));
    assert_eq!(parser.next(&mut &mut [][..]), Err(Violation::ReservedBit));
}

#[test]
fn each_violation_has_its_code() {
    for (violation, code) in [
        (Violation::ReservedBit, 1002),
        (Violation::LongLength, 1002),
        (Violation::CloseCode, 1002),
        (Violation::CloseReason, 1007),
        (Violation::Text, 1007),
        (Violation::TooBig, 1009),
    ] {
        assert_eq!(violation.close_code().number(), code);
    }
}

#[test]
fn a_close_is_cut_to_a_control_frame() {
    let mut out = Vec::new();
    encode::close(&mut out, 1012, "restart");
    assert_eq!(out, b"\x88\x09\x03\xf4restart");
    out.clear();
    encode::close(&mut out, 1008, &"\u{2603}".repeat(100));
    // Forty-one characters of three bytes are 123, the most.
    assert_eq!(out[..4], [0x88, 125, 0x03, 0xf0]);
    assert_eq!(out[4..], *"\u{2603}".repeat(41).as_bytes());
    out.clear();
    encode::close(&mut out, 1008, &format!("a{}", "\u{2603}".repeat(100)));
    assert_eq!((out.len(), out[1]), (4 + 121, 123));
}
