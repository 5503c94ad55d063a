//! The mail server that tests start, from pip by hash.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::progress::Progress;
use crate::tools::{Kept, pip_install};

/// Every package and its hash.
const REQUIREMENTS: &str = include_str!("../../tools/smtp.txt");

/// Installs it under `cache` unless it is there, and returns the variable that tells the tests where:
/// `TEST_SMTP`, a directory to put into `PYTHONPATH`.
///
/// # Errors
/// If there is no Python with pip, or what it fetches does not match the hashes.
pub(super) async fn provide(cache: &Path) -> anyhow::Result<(String, String)> {
    let kept = Kept::new(cache, "smtp", REQUIREMENTS);
    let path = if let Ok(path) = whole(&kept.path) {
        path
    } else {
        let progress = Progress::new();
        progress.fetching("Fetching a mail server for the tests with pip (checked by hash)");
        let install = async |work: &Path| pip_install(REQUIREMENTS, work).await;
        let installed = kept.install(install, whole).await;
        installed
            .context("cannot fetch the tests' mail server, which needs Python 3.10 with pip")?
    };
    let path = path.to_str().context("a path is not UTF-8")?;
    Ok(("TEST_SMTP".to_owned(), path.to_owned()))
}

fn whole(path: &Path) -> anyhow::Result<PathBuf> {
    for package in ["aiosmtpd", "attr", "public"] {
        ensure!(path.join(package).join("__init__.py").is_file(), "there is no {package}");
    }
    Ok(path.to_owned())
}
