//! Bytes that mean nothing, taken as choices: what to put into a stream, how long, where to cut.

/// The longest that a byte describes where it should be short, over the short form of a length.
const SHORT: usize = 140;

/// Choices, until the bytes are used up.
pub(crate) struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    /// All of these bytes are choices.
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// The next choice.
    pub(crate) fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let high = usize::from(self.next().unwrap_or(0));
        let low = usize::from(self.next().unwrap_or(0));
        (high << 8 | low) % end
    }

    /// At most so many of the bytes themselves.
    pub(crate) fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = usize::from(self.next().unwrap_or(0)).min(most).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken.into()
    }

    /// Bytes of a length near the places where the header's form changes.
    pub(crate) fn long(&mut self) -> Vec<u8> {
        let base = [0, 120, 4096, 65_530][usize::from(self.next().unwrap_or(0)) % 4];
        vec![self.next().unwrap_or(0); base + usize::from(self.next().unwrap_or(0)) % 16]
    }

    /// Characters of one to four bytes.
    pub(crate) fn text(&mut self) -> String {
        let characters = ['a', '\u{e9}', '\u{2603}', '\u{1f600}'];
        let bytes = self.bytes(200);
        bytes.iter().map(|byte| characters[usize::from(byte % 4)]).collect()
    }

    /// A client's frames, most of them as they should be.
    pub(crate) fn frames(&mut self) -> Vec<u8> {
        let (mut stream, mut begun) = (Vec::new(), None);
        while let Some(choice) = self.next() {
            // The last bit decides whether it is the last of its message.
            let last = choice << 7;
            let first = match choice >> 1 {
                0..64 if begun.is_some() => last,
                0..40 => last | 0x1,
                40..64 => last | 0x2,
                64..76 => 0x89,
                76..80 => 0x8a,
                80..84 => 0x88,
                84..86 => self.next().unwrap_or(0),
                _ if begun.is_some() => 0x00,
                _ => 0x01,
            };
            let payload = self.payload(first, begun.unwrap_or(0));
            match first {
                0x00..=0x02 => begun = Some(begun.unwrap_or(0) + payload.len()),
                0x80..=0x82 => begun = None,
                _ => {}
            }
            self.write(&mut stream, first, &payload);
        }
        stream
    }

    /// A payload that fits the frame; a text goes on where its last fragment, `begun` bytes in all,
    /// ended, so that characters are cut.
    fn payload(&mut self, first: u8, begun: usize) -> Vec<u8> {
        let choice = self.next().unwrap_or(0);
        if first == 0x88 {
            return self.close(choice);
        }
        if choice.is_multiple_of(32) {
            return self.bytes(SHORT);
        }
        let text = "a\u{e9}\u{2603}\u{1f600}";
        let mut length = self.below(if choice % 32 == 1 { 2000 } else { SHORT });
        if matches!(first, 0x80 | 0x81) && choice % 32 != 2 {
            length = (begun + length).next_multiple_of(text.len()) - begun;
        }
        let length = if first & 0x8 == 0 { length } else { length.min(125) };
        text.bytes().cycle().skip(begun).take(length).collect()
    }

    /// The payload of a Close: nothing, a code and a reason, or bytes.
    fn close(&mut self, choice: u8) -> Vec<u8> {
        match choice % 4 {
            0 => Vec::new(),
            1 => self.bytes(1),
            _ => {
                let code = u16::try_from(990 + self.below(4100)).unwrap_or(1000);
                let code = if choice % 4 == 2 { 1000 + code % 16 } else { code };
                // Cut anywhere: most reasons are UTF-8.
                let reason = self.text();
                let reason = &reason.as_bytes()[..reason.len().min(100 - self.below(8))];
                [&code.to_be_bytes(), reason].concat()
            }
        }
    }

    /// Writes a frame, now and then with a length that is wrong or too long, or without a mask.
    fn write(&mut self, stream: &mut Vec<u8>, first: u8, payload: &[u8]) {
        let choice = self.next().unwrap_or(0);
        let masked = if choice == 255 { 0 } else { 0x80 };
        let length = if choice == 254 { payload.len() + self.below(3000) } else { payload.len() };
        let length = u64::try_from(length).unwrap_or(0);
        let bytes = length.to_be_bytes();
        stream.push(first);
        match (length, choice) {
            (_, 251) => stream.extend([masked | 0x7f, 0xff, 0, 0, 0, 0, 0, 0, 0]),
            (0x1_0000.., _) | (_, 253) => {
                stream.push(masked | 0x7f);
                stream.extend(bytes);
            }
            (126.., _) | (_, 252) => {
                stream.push(masked | 0x7e);
                stream.extend(&bytes[6..]);
            }
            _ => stream.push(masked | bytes[7]),
        }
        let mask = [choice, choice ^ 0x55, 0x80, self.next().unwrap_or(0)];
        if masked != 0 {
            stream.extend(mask);
        }
        stream.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
}

/// Lengths of pieces, the same ones for the same bytes.
pub(crate) fn cuts(bytes: &[u8]) -> impl Iterator<Item = usize> {
    // A linear congruential generator (Knuth's MMIX): any spread of lengths will do.
    let mut state = bytes.iter().fold(1, |sum: u64, &byte| sum.wrapping_mul(31) + u64::from(byte));
    std::iter::repeat_with(move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        1 + (state >> 40) as usize % (1 << (state >> 60))
    })
}
