//! UTF-8, checked as it comes.

/// Whether this is a text.
#[inline]
pub(super) fn is_text(bytes: &[u8]) -> bool {
    // Most texts are ASCII, and that is known in a quarter of the instructions at 32 bytes, in
    // half at 4 KiB.
    bytes.is_ascii() || str::from_utf8(bytes).is_ok()
}

/// How many bytes at the end of `bytes` begin a character that is not whole yet, at most three.
/// `None` if a byte cannot be where it is: nothing that follows could make a text of it.
pub(super) fn characters_begun(bytes: &[u8]) -> Option<u8> {
    match str::from_utf8(bytes) {
        Ok(_) => Some(0),
        Err(error) if error.error_len().is_none() => {
            u8::try_from(bytes.len() - error.valid_up_to()).ok()
        }
        Err(_) => None,
    }
}
