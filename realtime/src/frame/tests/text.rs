//! Texts and reasons are UTF-8, wherever they are cut.

use super::*;

#[test]
fn the_reason_of_a_close_is_utf8() {
    let reason = |reason: &[u8]| frame(0x88, &[&[0x03, 0xe8], reason].concat());
    assert_eq!(frames(reason("Gr\u{fc}\u{df}e".as_bytes())), [Frame::Close(Some(1000))]);
    for wrong in [&b"\xff"[..], b"ok\xc3", b"\xed\xa0\x80"] {
        assert_eq!(violation(reason(wrong)), Violation::CloseReason);
    }
}

#[test]
fn characters_may_be_cut_by_fragments() {
    let snowman = "a\u{2603}\u{1f600}".as_bytes();
    for cut in 0..=snowman.len() {
        let (front, back) = snowman.split_at(cut);
        let bytes = [frame(0x01, front), frame(0x89, b"\xff"), frame(0x80, back)].concat();
        assert_eq!(frames(bytes)[1], text("a\u{2603}\u{1f600}"), "{cut}");
    }
}

#[test]
fn a_text_is_utf8() {
    // Alone, overlong, a surrogate, over U+10FFFF, cut off.
    for wrong in [&b"\x80"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x98"] {
        assert_eq!(violation(frame(0x81, wrong)), Violation::Text);
        assert_eq!(frames(frame(0x82, wrong)), [binary(wrong)]);
        for cut in 0..=wrong.len() {
            let (front, back) = wrong.split_at(cut);
            let bytes = [frame(0x01, front), frame(0x00, back), frame(0x80, b"")].concat();
            assert_eq!(violation(bytes), Violation::Text, "{wrong:x?} {cut}");
        }
    }
}

#[test]
fn a_wrong_byte_shows_before_its_frame_is_whole() {
    // How many bytes of each show that it cannot become a text.
    for (wrong, shown) in [
        (&b"\x80........"[..], 1),
        (b"abcdefgh\xff", 9),
        (b"\xe2\x98.......", 3),
        (b"\xed\xa0.......", 2),
        (b"\xf4\x90.......", 2),
        (b"\xe0\x80.......", 2),
        (b"\xc0.......", 1),
    ] {
        for (first, fragment) in [(0x81, false), (0x01, false), (0x80, true)] {
            let mut parser = Parser::new(100);
            if fragment {
                assert_eq!(parser.next(&mut &mut frame(0x01, b"fine")[..]), Ok(None));
            }
            let mut bytes = frame(first, &[wrong, b"and so on"].concat());
            let (fine, rest) = bytes.split_at_mut(6 + shown - 1);
            assert_eq!(parser.next(&mut &mut *fine), Ok(None), "{wrong:x?}");
            assert_eq!(parser.next(&mut &mut rest[..1]), Err(Violation::Text), "{wrong:x?}");
        }
    }
}
