//! `cargo dev db`: the database alone, and what `cargo lambda watch` must know to use it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use secrecy::ExposeSecret as _;
use shared::db::SERVING_ROLE;

use super::say;
use crate::places;
use crate::progress::Progress;
use crate::signals::Signals;
use crate::store::{Choice, Store};

/// Runs the private database until a signal, with an env file beside it.
///
/// # Errors
/// If it cannot be started, or ended and could not be restarted.
pub(super) async fn db(choice: &Choice) -> anyhow::Result<ExitCode> {
    ensure!(choice.database_url.is_none(), "DATABASE_URL is set: that database runs already");
    let mut signals = Signals::new()?;
    let progress = Progress::new();
    let mut store = tokio::select! {
        store = Store::open(choice, &progress) => store?,
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    drop(progress);
    store.say("with its database only (cargo dev db)")?;
    let dir = &choice.machine.local_dir;
    places::create_open(dir)?;
    let file = dir.join("lambda.env");
    write(&file, &variables(&store)?)?;
    say(&format!(
        "The database is ready: {}\n\n  psql '{}'\n  cargo lambda watch -p functions -A 127.0.0.1 --env-file {}\n\nCtrl-C ends it.",
        store.description,
        store.url.expose_secret(),
        shell_word(&file.to_string_lossy())
    ));
    let end = tokio::select! {
        _ = signals.next() => Ok(ExitCode::SUCCESS),
        why = store.given_up() => Err(anyhow::anyhow!(why)),
    };
    store.stop().await;
    end
}

/// What a function needs: the serving role's address, and the keys.
fn variables(store: &Store) -> anyhow::Result<String> {
    let url = store.url.expose_secret();
    let keys = fs::canonicalize(&store.keys_file)?;
    let keys = keys.to_str().context("the path of the keys is not UTF-8")?;
    ensure!(!keys.contains('\''), "the path of the keys has a quote in it: {keys}");
    // cargo-lambda, like a shell, reads `&` only between quotes; the address is percent-encoded.
    Ok(format!("DATABASE_URL='{url}&options[role]={SERVING_ROLE}'\nKEYS_FILE='{keys}'\n"))
}

/// Writes it for this user alone: it says where the keys are.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(file);
    let mut opened = opened.with_context(|| format!("cannot write {}", file.display()))?;
    Ok(opened.write_all(text.as_bytes())?)
}

/// The text as a shell reads it back as one word.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%=:".contains(c);
    if text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_every_path_as_one_word() {
        assert_eq!(shell_word("/srv/app/.local/lambda.env"), "/srv/app/.local/lambda.env");
        for path in ["/srv/my app/x", "/srv/o'neill/$(x)", "/srv/\"a\";b"] {
            let mut shell = std::process::Command::new("sh");
            let line = format!("printf %s {}", shell_word(path));
            let output = shell.args(["-c", &line]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), path);
        }
    }
}
