//! The lines of a file, of bounded length: one that is no text costs no memory.

use std::io::{self, BufRead, Read as _};

/// Longest line, in bytes. No setting: the longest that can be right has under 1 KiB.
const LINE_BYTES: usize = 16 * 1024;

/// Reads line by line.
#[derive(Debug)]
pub(super) struct Lines<R> {
    source: R,
    number: u64,
}

/// A line that is not empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number, from 1.
    pub(super) number: u64,
    /// What is in it, or why it cannot be read.
    pub(super) text: Result<String, &'static str>,
}

impl<R: BufRead> Lines<R> {
    /// The lines of this source.
    pub(super) fn new(source: R) -> Self {
        Self { source, number: 0 }
    }

    /// The next line that is not empty; `None` at the end.
    ///
    /// # Errors
    /// If the source cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let mut bytes = Vec::new();
            let limit = u64::try_from(LINE_BYTES + 1).unwrap_or(u64::MAX);
            if self.source.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let whole = bytes.ends_with(b"\n") || bytes.len() <= LINE_BYTES;
            if !whole {
                self.source.skip_until(b'\n')?;
                let text = Err("the line is longer than 16 KiB");
                return Ok(Some(Line { number: self.number, text }));
            }
            let Ok(text) = String::from_utf8(bytes) else {
                let text = Err("the line is not UTF-8");
                return Ok(Some(Line { number: self.number, text }));
            };
            // Some programs begin a file with a byte order mark.
            let text = if self.number == 1 { text.trim_start_matches('\u{feff}') } else { &text };
            let text = text.trim_end_matches(['\n', '\r']);
            if !text.trim().is_empty() {
                return Ok(Some(Line { number: self.number, text: Ok(text.to_owned()) }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_and_those_that_are_no_text_are_told() {
        let long = "x".repeat(1_000_000);
        let text = [b"\xef\xbb\xbffirst\r\n\n", long.as_bytes(), b"\n\xff\nlast"].concat();
        let mut lines = Lines::new(text.as_slice());
        let mut found = Vec::new();
        while let Some(Line { number, text }) = lines.next().unwrap() {
            found.push((number, text));
        }
        let expected = [
            (1, Ok("first".to_owned())),
            (3, Err("the line is longer than 16 KiB")),
            (4, Err("the line is not UTF-8")),
            (5, Ok("last".to_owned())),
        ];
        assert_eq!(found, expected);
    }
}
