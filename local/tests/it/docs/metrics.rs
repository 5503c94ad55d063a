//! `docs/operations.md` lists what a node counts, and nothing else.

use std::collections::BTreeSet;

use super::{code_spans, read, section};

#[test]
fn every_metric_of_a_node_is_on_the_page_and_no_other() {
    let source = read("realtime/src/metrics.rs");
    let counted = source.split('"').filter_map(|word| word.strip_prefix("keywire_"));
    let counted: BTreeSet<&str> = counted.collect();
    let page = read("docs/operations.md");
    let rows = section(&page, "## Metrics").lines().filter(|line| line.starts_with("| `"));
    let listed = rows.flat_map(|row| code_spans(row.split('|').nth(1).unwrap()));
    let listed: BTreeSet<&str> =
        listed.map(|name| name.split('{').next().unwrap_or_default()).collect();
    assert!(counted.len() > 15, "{counted:?}");
    assert_eq!(counted, listed, "the code's, the page's");
}
