//! The OpenAPI document against the router, the pages and, with tools from pip, a validator and a
//! fuzzer.

mod tools;

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde_json::Value;
use shared::problem::Code;

use crate::app::TestApp;
use crate::docs::{self, routes};

/// Codes that only the node answers, which the document does not describe.
const OF_THE_NODE: [Code; 4] =
    [Code::BadRequest, Code::OriginRefused, Code::AddressUnverified, Code::UpgradeRequired];
/// Codes of addresses and methods that are not described.
const OF_NO_ROUTE: [Code; 2] = [Code::NotFound, Code::MethodNotAllowed];
/// Codes that every operation lists.
const OF_EVERY_ROUTE: [Code; 3] = [Code::HostRefused, Code::Internal, Code::TooManyConnections];

/// An operation of the document.
struct Operation<'a> {
    /// Like `POST`.
    method: String,
    /// Like `/users/{id}`.
    path: &'a str,
    described: &'a Value,
}

impl Operation<'_> {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The codes of its problems.
    fn codes(&self, document: &Value) -> BTreeSet<String> {
        let mut codes = BTreeSet::new();
        for answer in self.described["responses"].as_object().unwrap().values() {
            let answer = match answer["$ref"].as_str() {
                Some(path) => document.pointer(path.trim_start_matches('#')).unwrap(),
                None => answer,
            };
            let examples = answer["content"]["application/problem+json"]["examples"].as_object();
            codes.extend(examples.into_iter().flat_map(|examples| examples.keys().cloned()));
        }
        codes
    }
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, described)| Operation {
            method: method.to_uppercase(),
            path,
            described,
        })
    });
    all.collect()
}

fn names(codes: &[Code]) -> BTreeSet<String> {
    codes.iter().map(|code| code.as_str().to_owned()).collect()
}

/// The path with an id in it that nobody has.
fn concrete(path: &str) -> String {
    let id = "01a204df-99d4-77e2-afbe-046af9f4fb9b";
    let parts = path.split('/').map(|part| if part.starts_with('{') { id } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn the_served_document_is_the_committed_one() {
    let app = TestApp::start().await;
    let answer = app.get("/openapi.json").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "application/json");
    let committed: Value = serde_json::from_str(&docs::read("docs/openapi.json")).unwrap();
    assert!(answer.body == committed, "another document is compiled in than is committed");
}

#[test]
fn every_route_is_described_with_its_problems_and_no_other() {
    let document = functions::openapi::document();
    let routes = routes::of_functions();
    let described = operations(&document);
    let expected: BTreeSet<String> = routes.iter().map(|route| route.name.clone()).collect();
    assert_eq!(described.iter().map(Operation::name).collect::<BTreeSet<_>>(), expected);
    for operation in &described {
        let route = routes.iter().find(|route| route.name == operation.name()).unwrap();
        let own = &operation.codes(&document) - &names(&OF_EVERY_ROUTE);
        assert_eq!(own, route.problems, "{}", route.name);
    }
}

#[tokio::test]
async fn the_router_takes_exactly_the_described_methods() {
    let app = TestApp::start().await;
    let document = functions::openapi::document();
    let described = operations(&document);
    let paths: BTreeSet<&str> = described.iter().map(|operation| operation.path).collect();
    for path in paths {
        let own = described.iter().filter(|operation| operation.path == path);
        let mut expected: BTreeSet<String> =
            own.map(|operation| operation.method.clone()).collect();
        if expected.contains("GET") {
            expected.insert("HEAD".to_owned());
        }
        // A method that no API has.
        let method = Method::from_bytes(b"PROPFIND").unwrap();
        let request = Request::builder().method(method).uri(concrete(path));
        let answer = app.send(request.body(Bytes::new()).unwrap()).await;
        answer.assert_problem(405, "method_not_allowed");
        let allowed = answer.headers["allow"].to_str().unwrap().split(',');
        let allowed: BTreeSet<String> = allowed.map(|method| method.trim().to_owned()).collect();
        assert_eq!(allowed, expected, "{path}");
    }
}

#[test]
fn every_problem_is_in_the_document_and_some_route_answers_it() {
    let document = functions::openapi::document();
    let listed = document["components"]["responses"].as_object().unwrap().keys();
    assert_eq!(listed.cloned().collect::<BTreeSet<_>>(), names(Code::ALL));
    let mut answered = names(&OF_NO_ROUTE);
    for operation in operations(&document) {
        answered.extend(operation.codes(&document));
    }
    let of_the_node = names(&OF_THE_NODE);
    let all = &answered | &of_the_node;
    assert_eq!(all, names(Code::ALL), "a problem that no route lists");
}

#[test]
fn summaries_are_the_sentences_of_the_page() {
    let page = docs::read("docs/api.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| [`"));
    let rows: Vec<(&str, &str)> = rows
        .filter_map(|row| row.split_once("`]("))
        .filter_map(|(name, rest)| Some((name, rest.split_once(") | ")?.1.split(" | ").next()?)))
        .collect();
    let document = functions::openapi::document();
    for operation in operations(&document) {
        let summary = operation.described["summary"].as_str().unwrap().to_lowercase();
        let row = rows.iter().find(|(name, _)| *name == operation.name());
        let (_, said) = row.unwrap_or_else(|| panic!("{} is not in the table", operation.name()));
        assert_eq!(summary, said.to_lowercase(), "{}", operation.name());
    }
}

#[test]
fn no_limit_is_left_on_for_the_fuzzer() {
    let sources = docs::files("rs").into_iter();
    let settings = sources.filter(|path| path.to_str().unwrap().contains("src/settings"));
    let settings: Vec<String> = settings.map(docs::read).collect();
    let quoted = settings.iter().flat_map(|source| source.split("\"LIMIT_").skip(1));
    let limits = quoted.filter_map(|rest| rest.split('"').next());
    let is_name =
        |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let limits = limits.filter(is_name);
    let named: BTreeSet<String> = limits.map(|name| format!("LIMIT_{name}")).collect();
    assert!(named.len() > 6, "{named:?}");
    let off: BTreeSet<String> = tools::limits().into_iter().map(str::to_owned).collect();
    assert!(named.is_subset(&off), "{:?} are left on", &named - &off);
}
