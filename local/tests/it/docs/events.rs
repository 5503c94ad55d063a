//! The events of the audit log: those that the code writes are those on the page, and in some test.

use std::collections::BTreeSet;

use super::{code_spans, files, read, root, section};

/// How the events begin that a statement does not name right behind the time.
const PREFIXES: [&str; 4] = ["authn_", "authz_", "privilege_", "user_"];
/// What begins so and is a column.
const COLUMNS: [&str; 2] = ["user_id", "user_agent"];

/// The words in a text that stand alone between quotes of either kind.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let pieces = text.split(['\'', '"']).skip(1);
    pieces.filter(|word| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    })
}

/// The events that a source writes.
fn written(source: &str) -> BTreeSet<String> {
    let mut events = BTreeSet::new();
    for rest in source.split("INSERT INTO audit").skip(1) {
        let (_, values) = rest.split_once(')').unwrap();
        let values = values.trim_start();
        let values = values.strip_prefix("SELECT").or(values.strip_prefix("VALUES")).unwrap();
        let (_, event) = values.split_once(',').unwrap();
        let event = event.trim_start();
        if let Some(literal) = event.strip_prefix('\'') {
            events.insert(literal.split('\'').next().unwrap().to_owned());
        } else {
            // Chosen in the statement, or given to it from a name in the same source.
            let named = quoted(source).filter(|word| !COLUMNS.contains(word));
            let named: Vec<_> =
                named.filter(|word| PREFIXES.iter().any(|one| word.starts_with(one))).collect();
            assert!(!named.is_empty(), "no name for {event:.60}");
            events.extend(named.into_iter().map(str::to_owned));
        }
    }
    events
}

#[test]
fn every_event_of_the_code_is_on_the_page_and_in_a_test() {
    let sources = files("rs");
    let (tests, code): (Vec<_>, Vec<_>) =
        sources.iter().partition(|path| path.starts_with(root().join("local/tests")));
    let code =
        code.into_iter().filter(|path| path.components().any(|part| part.as_os_str() == "src"));
    let events: BTreeSet<String> = code.flat_map(|path| written(&read(path))).collect();
    let page = read("docs/api.md");
    let table =
        section(&page, "## `GET /audit`").split_once("| event | what happened |").unwrap().1;
    let rows = table.trim_start().lines().take_while(|row| row.starts_with('|'));
    let told = rows.flat_map(|row| code_spans(row.split('|').nth(1).unwrap()));
    let told: BTreeSet<String> = told.map(str::to_owned).collect();
    assert_eq!(events, told, "the code's, the page's");
    let seen: String = tests.into_iter().map(read).collect();
    let seen: BTreeSet<&str> = quoted(&seen).collect();
    let unseen: Vec<_> = events.iter().filter(|event| !seen.contains(event.as_str())).collect();
    assert!(unseen.is_empty(), "in no test: {unseen:?}");
}
