//! The checks of `realtime/src/frame/tests`, for a fuzzer. There they run with inputs at random;
//! what a fuzzer finds becomes a test there.

// The checks call it `crate::frame`.
pub use realtime::frame;

#[path = "../../src/frame/tests/reference.rs"]
mod reference;
#[path = "../../src/frame/tests/source.rs"]
mod source;

/// Any bytes as a client's stream: the same frames and end as with tungstenite.
pub fn bytes(data: &[u8]) {
    reference::agree(data);
}

/// Streams of frames that are almost right: the same.
pub fn frames(data: &[u8]) {
    reference::agree_on_frames(data);
}

/// Messages from a tungstenite client are read as they were meant.
pub fn messages(data: &[u8]) {
    reference::read_what_a_client_writes(data);
}

/// What we encode, a tungstenite client reads.
pub fn encode(data: &[u8]) {
    reference::a_client_reads_what_is_encoded(data);
}
