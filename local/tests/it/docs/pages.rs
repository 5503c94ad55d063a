//! Problems, close codes, tests and links that the pages name are those that there are.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use shared::problem::Code;

use super::{code_spans, files, read, root};

#[test]
fn every_problem_has_its_entry_and_no_entry_is_extra() {
    let page = read("docs/problems.md");
    let entries: Vec<&str> = page.split("\n## `").skip(1).collect();
    let named: Vec<&str> = entries.iter().map(|entry| entry.split_once("`\n").unwrap().0).collect();
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(named, codes);
    for (code, entry) in Code::ALL.iter().zip(entries) {
        let first = format!("**{}** {}\n", code.status().as_u16(), code.title());
        let (_, text) = entry.split_once("\n\n").unwrap();
        assert!(text.starts_with(&first), "{}: {first}", code.as_str());
        assert!(text.contains("\nWhen: ") && text.contains("\nDo: "), "{}", code.as_str());
    }
}

#[test]
fn every_close_code_of_the_fixture_stands_in_the_protocol() {
    let page = read("docs/protocol.md");
    let fixture: Value = serde_json::from_str(&read("shared/contracts/close_codes.json")).unwrap();
    let expected = fixture.as_array().unwrap().iter().map(|close| {
        let text = |name: &str| close[name].as_str().unwrap();
        format!("| {} | `{}` | {} |", close["code"], text("name"), text("reconnect"))
    });
    let listed = page.lines().filter(|line| line.starts_with('|'));
    let listed = listed.filter(|line| line[1..].trim_start().starts_with(|c: char| c.is_numeric()));
    let listed: Vec<String> =
        listed.map(|line| line.split_inclusive('|').take(4).collect()).collect();
    assert_eq!(listed, expected.collect::<Vec<_>>());
}

/// The pages that answer a checklist statement by statement.
const CHECKLISTS: [&str; 2] = ["docs/security.md", "docs/realtime.md"];
/// What a statement is answered with, each at the beginning of a line: names of tests, a figure that was
/// measured, or why there is neither.
const ANSWERS: [&str; 4] = ["\nTests: ", "\nFigures: ", "\nNot built yet: ", "\nNo test: "];

#[test]
fn every_test_named_in_a_checklist_is_there() {
    let mut tests: BTreeSet<String> =
        files("rs").iter().flat_map(|path| tests_of(&read(path))).collect();
    assert!(tests.contains("every_test_named_in_a_checklist_is_there"));
    let web = files("ts").into_iter().chain(files("js"));
    tests.extend(web.flat_map(|path| titles_of(&read(path))));
    for page in CHECKLISTS {
        let text = read(page);
        let paragraphs = text.split("\n\n").filter_map(|paragraph| paragraph.split_once("Tests: "));
        // A title may be so long that it goes on in the next line.
        let named = paragraphs.flat_map(|(_, names)| code_spans(of_tests(names)));
        let named: Vec<String> = named.map(|name| name.replace('\n', " ")).collect();
        assert!(named.len() > 30, "{named:?}");
        for name in named {
            assert!(tests.contains(&name), "{page}: no test {name}");
        }
    }
}

/// What stands behind `Tests: ` up to the next answer of the paragraph.
fn of_tests(answer: &str) -> &str {
    ANSWERS.iter().fold(answer, |answer, next| answer.split(next).next().unwrap_or_default())
}

#[test]
fn every_statement_of_a_checklist_stands_in_its_page() {
    for page in CHECKLISTS {
        let text = read(page);
        let paragraphs: Vec<&str> = text.split("\n\n").collect();
        let numbered =
            paragraphs.iter().filter_map(|text| text.strip_prefix("**")?.split_once(". "));
        let numbers: Vec<u32> = numbered.filter_map(|(number, _)| number.parse().ok()).collect();
        assert!(numbers.iter().copied().eq(1..=60), "{page}: {numbers:?}");
        for text in paragraphs.iter().filter(|text| text.starts_with("**")) {
            assert!(ANSWERS.iter().any(|answer| text.contains(answer)), "{page}: {text}");
        }
    }
}

/// A figure is one of the page that the bench's results are on: it is told with a link to its section.
#[test]
fn every_figure_of_a_checklist_links_to_where_it_was_measured() {
    for page in CHECKLISTS {
        let text = read(page);
        for figure in text.split("\nFigures: ").skip(1) {
            let figure = figure.split("\n\n").next().unwrap_or_default();
            assert!(figure.contains("](../bench/RESULTS.md#"), "{page}: {figure}");
        }
    }
}

/// The names of the functions marked as tests in a source.
fn tests_of(source: &str) -> Vec<String> {
    let marked = source.split("#[test]\n").skip(1).chain(source.split("#[tokio::test").skip(1));
    let named = marked.filter_map(|rest| rest.split_once("fn ")?.1.split_once('('));
    named.map(|(name, _)| name.to_owned()).collect()
}

/// The titles of a TypeScript or JavaScript source's tests, but for those that are put together.
fn titles_of(source: &str) -> Vec<String> {
    let titles = source.split("test('").skip(1).filter_map(|rest| rest.split_once("', "));
    titles.map(|(title, _)| title.replace("\\'", "'")).collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let pages = files("md");
    assert!(pages.len() >= 8, "{pages:?}");
    for page in pages {
        for target in links_of(&std::fs::read_to_string(&page).unwrap()) {
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let there = if path.is_empty() { page.clone() } else { page.with_file_name(path) };
            assert!(there.exists(), "{}: {target}", page.display());
            if !anchor.is_empty() {
                let anchors = anchors_of(&there);
                assert!(
                    anchors.iter().any(|found| found == anchor),
                    "{}: {target}",
                    page.display()
                );
            }
        }
    }
}

/// The targets of links within the repository.
fn links_of(page: &str) -> Vec<String> {
    let targets = page.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let own = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
    own.map(str::to_owned).collect()
}

/// The anchors that GitHub gives to a page's headings: lower case, hyphens for spaces, no marks.
fn anchors_of(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|title| title.chars().filter(kept).collect::<String>().replace(' ', "-"))
        .collect()
}

#[test]
fn every_page_is_reached_from_the_readme() {
    let readme = read("README.md");
    let linked: BTreeSet<String> = links_of(&readme).into_iter().collect();
    for page in files("md").iter().filter(|page| page.starts_with(root().join("docs"))) {
        let path = page.strip_prefix(root()).unwrap().to_str().unwrap();
        assert!(linked.contains(path), "{path}");
    }
}
