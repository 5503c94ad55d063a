//! What the pages say is held against what the code does; these tests need no server.

mod configuration;
mod events;
mod metrics;
mod pages;
pub(crate) mod routes;

use std::fs;
use std::path::{Path, PathBuf};

/// The checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A file of the checkout, by its path in it.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file of the checkout with this extension; what is built, fetched or private is left out.
pub(crate) fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                let source = !name.starts_with('.') && name != "target" && name != "node_modules";
                dirs.extend(source.then_some(path));
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What stands between backticks in a text.
fn code_spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The section of a page under the heading, up to the next heading of the same or a higher level.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let start = page.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let body = &page[start + heading.len() + 2..];
    let level = heading.split(' ').next().unwrap().len();
    let end = (1..=level).filter_map(|level| body.find(&format!("\n{} ", "#".repeat(level)))).min();
    &body[..end.unwrap_or(body.len())]
}
