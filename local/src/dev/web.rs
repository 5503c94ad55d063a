//! What the tests of the web's side need: Node, its packages, the built client, Chromium, and the built
//! program.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::child;
use crate::places::short_hash;
use crate::progress::Progress;
use crate::settings::{self, System};
use crate::tools::{apt_install, find_on_path, run, runs};

/// The directories with packages, and the packages' versions and integrity hashes.
const PACKAGES: [(&str, &str); 2] = [
    ("web/client", include_str!("../../../web/client/package-lock.json")),
    ("web/e2e", include_str!("../../../web/e2e/package-lock.json")),
];
/// The tests of the client, as they are built. Node 20 takes no patterns.
const CLIENT_TESTS: [&str; 13] = [
    "contract.test.js",
    "asyncapi.test.js",
    "machine.test.js",
    "client.test.js",
    "outbox.test.js",
    "subscription.test.js",
    "ephemeral.test.js",
    "handles.test.js",
    "presence.test.js",
    "hostile.test.js",
    "drops.test.js",
    "package.test.js",
    "node.test.js",
];
/// The tests in a browser.
const E2E_TESTS: [&str; 2] = ["client.test.js", "passkey.test.js"];
/// What checks the client's types and builds it, its declarations, and its tests, in this order.
const PROJECTS: [&str; 3] = ["tsconfig.json", "tsconfig.types.json", "tsconfig.test.json"];
/// Where the client and its tests are built.
const BUILT: [&str; 2] = ["dist", ".build"];
/// The oldest Node that runs them, major and minor.
const NODE: (u32, u32) = (20, 14);
/// The oldest Node that has a WebSocket without being asked.
const NODE_WITH_WEBSOCKET: (u32, u32) = (22, 0);
/// The browsers that do, in order of preference.
const BROWSERS: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// Says of which lock file the installed packages are.
const STAMP: &str = "node_modules/.keywire-lock";

/// What runs the tests.
#[derive(Debug)]
pub(super) struct Provided {
    /// Node with its flags; more of them go behind these.
    pub(super) node: Vec<OsString>,
    /// The files of tests.
    pub(super) files: Vec<OsString>,
    /// What tells the tests where things are: `TEST_CHROMIUM`, `TEST_KEYWIRE`.
    pub(super) variables: Vec<(String, String)>,
}

/// Installs what is missing, and builds the client and the program.
///
/// # Errors
/// If there is no Node, something can be neither found nor installed, or something does not build.
pub(super) async fn provide(browser: Option<PathBuf>) -> anyhow::Result<Provided> {
    let mut node: Vec<OsString> = vec!["node".into()];
    if check_node().await? < NODE_WITH_WEBSOCKET {
        node.push("--experimental-websocket".into());
    }
    // A test that fails may leave a server open, which would keep its process for ever.
    node.extend(["--test".into(), "--test-force-exit".into()]);
    let checkout = settings::checkout();
    let progress = Progress::new();
    for (dir, lock) in PACKAGES {
        install_packages(&checkout.join(dir), lock, &progress).await?;
    }
    let client = checkout.join(PACKAGES[0].0);
    build_client(&client).await?;
    let browser = browser.map_or_else(|| find_browser(&progress), Ok)?;
    drop(progress);
    let program = build().await?;
    let text = |path: PathBuf| path.into_os_string().into_string();
    let text = |path| text(path).map_err(|path| anyhow::anyhow!("not UTF-8: {}", path.display()));
    let variables = [("TEST_CHROMIUM", text(browser)?), ("TEST_KEYWIRE", text(program)?)];
    let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
    let clients = CLIENT_TESTS.map(|test| client.join(BUILT[1]).join(test));
    let e2e = E2E_TESTS.map(|test| checkout.join(PACKAGES[1].0).join(test));
    let files = clients.into_iter().chain(e2e).map(PathBuf::into_os_string).collect();
    Ok(Provided { node, files, variables })
}

/// The version of Node, major and minor.
async fn check_node() -> anyhow::Result<(u32, u32)> {
    let needed = "the tests of the web's side need Node 20.14 or newer with npm (apt-get install nodejs npm, \
                  brew install node)";
    let mut node = Command::new("node");
    node.args(["-p", "process.versions.node"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let output = child::output(node, None).await.context(needed)?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let mut numbers = version.split('.').map_while(|number| number.parse().ok());
    let found = numbers.next().zip(numbers.next()).filter(|found| *found >= NODE);
    let found = found.with_context(|| format!("{needed}; this one is {version:?}"))?;
    ensure!(runs("npm"), "{needed}; there is no npm");
    Ok(found)
}

/// Installs them exactly as the lock file says, once.
async fn install_packages(dir: &Path, lock: &str, progress: &Progress) -> anyhow::Result<()> {
    let (stamp, expected) = (dir.join(STAMP), short_hash(lock));
    if fs::read_to_string(&stamp).is_ok_and(|found| found == expected) {
        return Ok(());
    }
    progress.fetching("Fetching the packages of the web tests from npm (checked by hash)");
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(dir);
    run(npm).await?;
    // Last, so that what was interrupted is done again.
    fs::write(&stamp, expected).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Checks the client's types and builds it and its tests, without anything that an older build left.
async fn build_client(dir: &Path) -> anyhow::Result<()> {
    for built in BUILT {
        match fs::remove_dir_all(dir.join(built)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {built}"));
            }
            _ => {}
        }
    }
    for project in PROJECTS {
        let mut compiler = Command::new("node");
        compiler.args(["node_modules/typescript/bin/tsc", "--project", project]).current_dir(dir);
        compiler.stdin(Stdio::null()).stdout(Stdio::piped());
        let output = child::output(compiler, None).await.context("cannot run node")?;
        // It says on its output what is wrong.
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{project} does not build:\n{}", said.trim());
    }
    Ok(())
}

fn find_browser(progress: &Progress) -> anyhow::Result<PathBuf> {
    let path = System::read().path;
    let found = || find_on_path(path.as_deref(), &BROWSERS);
    if let Some(found) = found() {
        return Ok(found);
    }
    let wanted = "the browser tests need Chromium: install it (apt-get install chromium), or name the \
                  program in CHROMIUM_BIN";
    ensure!(rustix::process::geteuid().is_root() && runs("apt-get"), "{wanted}");
    progress.fetching("No Chromium here: installing Debian's with apt-get (135 MB)");
    apt_install("chromium").context(wanted)?;
    found().context("chromium is installed but not on PATH")
}

/// Builds the program as the tests run it.
async fn build() -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--quiet", "--package=local", "--bin=keywire"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(settings::checkout())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let output = child::output(cargo, None).await.context("cannot run cargo")?;
    ensure!(output.status.success(), "keywire does not build ({})", output.status);
    let built = String::from_utf8(output.stdout)?;
    let built = built.lines().find_map(built_keywire);
    built.context("cargo did not say where it put keywire")
}

/// Where a line of cargo's says that it put the program.
fn built_keywire(line: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_ours = message["target"]["name"] == "keywire";
    message["executable"].as_str().filter(|_| is_ours).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &str, end: &str) -> Vec<String> {
        let files = fs::read_dir(settings::checkout().join(dir)).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut tests: Vec<_> =
            names.filter_map(|name| name.strip_suffix(end).map(str::to_owned)).collect();
        tests.sort();
        tests
    }

    #[test]
    fn every_test_is_run() {
        let stem = |test: &str| test.strip_suffix(".test.js").unwrap().to_owned();
        assert_eq!(names("web/e2e", ".test.js"), E2E_TESTS.map(stem));
        let mut client = CLIENT_TESTS.map(stem);
        client.sort();
        assert_eq!(names("web/client/test", ".test.ts"), client);
    }

    #[test]
    fn every_package_is_pinned_by_hash_and_names_no_address() {
        for (dir, lock) in PACKAGES {
            let packages: serde_json::Value = serde_json::from_str(lock).unwrap();
            let packages = packages["packages"].as_object().unwrap();
            let fetched = packages.iter().filter(|(path, _)| !path.is_empty());
            for (path, package) in fetched {
                let hash = package["integrity"].as_str().unwrap();
                assert!(hash.starts_with("sha512-"), "{dir}: {path}");
            }
            assert!(packages.len() > 1 && !lock.contains("://"), "{dir}");
        }
    }

    #[test]
    fn the_program_is_read_from_cargos_messages() {
        let lines = [
            r#"{"reason":"compiler-artifact","target":{"name":"local"},"executable":null}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"keywire"},"executable":"/t/keywire"}"#,
            "not JSON",
        ];
        let found: Vec<_> = lines.into_iter().filter_map(built_keywire).collect();
        assert_eq!(found, [PathBuf::from("/t/keywire")]);
    }
}
