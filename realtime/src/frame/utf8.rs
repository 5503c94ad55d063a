//! UTF-8, checked as it comes.

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
