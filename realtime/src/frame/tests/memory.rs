//! What a parser takes, lends and holds.

use super::*;

#[test]
fn a_parser_is_small() {
    assert!(size_of::<Parser>() <= 64, "{}", size_of::<Parser>());
    assert_eq!(size_of::<Control>(), 16);
    assert!(size_of::<Frame<'_>>() <= 32);
}

#[test]
fn a_whole_frame_is_handed_out_where_it_lies() {
    let mut bytes = [frame(0x81, b"one"), frame(0x82, b"two")].concat();
    let (mut parser, mut input) = (Parser::new(100), &mut bytes[..]);
    assert!(matches!(parser.next(&mut input), Ok(Some(Frame::Text(Cow::Borrowed(b"one"))))));
    assert!(matches!(parser.next(&mut input), Ok(Some(Frame::Binary(Cow::Borrowed(b"two"))))));
    assert_eq!(parser.next(&mut input), Ok(None));
    assert_eq!((input.len(), parser.held()), (0, 0));
}

#[test]
fn memory_grows_with_what_has_come_and_is_given_back() {
    let (mut parser, limit) = (Parser::new(1 << 30), 1 << 20);
    let (mut head, length) = encode::header(Opcode::Binary, limit);
    head[1] |= 0x80;
    let mut bytes = masked(&head[..length], &vec![0; limit]);
    assert_eq!(parser.next(&mut &mut bytes[..14]), Ok(None));
    assert_eq!(parser.held(), 0);
    let mut came = 0;
    for piece in bytes[14..].chunks_mut(1000) {
        came += piece.len();
        if let Some(frame) = parser.next(&mut &mut *piece).unwrap() {
            assert_eq!(frame, binary(&vec![0; limit]));
            assert_eq!(parser.held(), 0);
        } else {
            assert!((came..=2 * came).contains(&parser.held()), "{came} {}", parser.held());
        }
    }
    assert_eq!(came, limit);
}

#[test]
fn a_message_of_many_small_fragments_moves_seldom() {
    let (mut parser, mut sizes) = (Parser::new(1 << 20), vec![0]);
    for first in [0x02].into_iter().chain(std::iter::repeat_n(0x00, 10_000)) {
        assert_eq!(parser.next(&mut &mut frame(first, b"x")[..]), Ok(None));
        sizes.push(parser.held());
    }
    sizes.dedup();
    assert!(sizes.len() < 20, "{sizes:?}");
}

#[test]
fn a_control_frame_in_pieces_leaves_the_message_alone() {
    let mut parser = Parser::new(100);
    assert_eq!(parser.next(&mut &mut frame(0x01, b"na\xc3")[..]), Ok(None));
    let mut ping = frame(0x89, b"\xffping");
    for byte in &mut ping[..10] {
        assert_eq!(parser.next(&mut std::slice::from_mut(byte)), Ok(None));
    }
    let got = parser.next(&mut &mut ping[10..]);
    assert_eq!(got, Ok(Some(Frame::Ping(Control((*b"\xffping").into())))));
    assert_eq!(parser.next(&mut &mut frame(0x80, b"\xafve")[..]), Ok(Some(text("na\u{ef}ve"))));
    assert_eq!(parser.held(), 0);
}
