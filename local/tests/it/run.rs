//! The local process and its private Postgres: started, killed, restarted, refused.

mod cluster;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use local::postgres::{Search, Source};

/// A directory that also the account of a Postgres started by root may enter.
pub(crate) fn open_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    dir
}

/// Looks for a Postgres as the test command says (`TEST_PG_BINDIR`), else as `cargo run` does.
pub(crate) fn search(cache: &Path) -> Search {
    Search { source: Source::Auto, bindir: None, path: path(), cache: cache.to_owned() }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program search path is the machine's, no setting of Keywire's"
)]
fn path() -> Option<std::ffi::OsString> {
    std::env::var_os("PATH")
}
