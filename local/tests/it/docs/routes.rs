//! Every route is described in `docs/api.md`, and every function's is in `template.yaml`.

use std::collections::BTreeSet;

use super::{code_spans, files, read, root, section};

/// The node's routes that are no WebSocket.
const NODE: &str = "realtime/src/health.rs";

/// A route as the source has it.
#[derive(Debug)]
pub(crate) struct Route {
    /// Like `POST /login`.
    pub(crate) name: String,
    /// The codes that its handler's documentation lists.
    pub(crate) problems: BTreeSet<String>,
}

/// The routes of a source: each `.route("/path", method(handler))`, with the problems that the
/// handler's comment names.
fn routes_of(source: &str) -> Vec<Route> {
    let mut routes = Vec::new();
    for call in source.split(".route(\"").skip(1) {
        let (path, rest) = call.split_once("\", ").unwrap();
        let (method, rest) = rest.split_once('(').unwrap();
        let (handler, _) = rest.split_once(')').unwrap();
        let name = format!("{} {path}", method.to_uppercase());
        routes.push(Route { name, problems: problems_of(source, handler) });
    }
    routes
}

fn problems_of(source: &str, handler: &str) -> BTreeSet<String> {
    let (before, _) = source.split_once(&format!("async fn {handler}(")).unwrap();
    // Between the comment and the handler may stand an attribute, but no empty line.
    let above =
        before.lines().rev().skip_while(|line| !line.is_empty() && !line.starts_with("///"));
    let comment: Vec<&str> = above.take_while(|line| line.starts_with("///")).collect();
    let comment = comment.into_iter().rev().collect::<Vec<_>>().join("\n");
    let (_, problems) = comment.split_once("Problems: ").unwrap_or_default();
    code_spans(problems).into_iter().map(str::to_owned).collect()
}

/// The names of all routes of the functions, in order.
pub(crate) fn functions_route_names() -> Vec<String> {
    let names: BTreeSet<String> = of_functions().into_iter().map(|route| route.name).collect();
    names.into_iter().collect()
}

/// Every route of a function.
pub(crate) fn of_functions() -> Vec<Route> {
    let sources = files("rs").into_iter();
    let (all, lambda) = (root().join("functions/src"), root().join("functions/src/lambda"));
    let sources = sources.filter(|path| path.starts_with(&all) && !path.starts_with(&lambda));
    let routes: Vec<Route> = sources.flat_map(|path| routes_of(&read(path))).collect();
    assert!(routes.len() >= 4, "{routes:?}");
    routes
}

#[test]
fn every_route_of_a_function_is_in_the_template_in_both_forms() {
    let template = read("template.yaml");
    let keys: BTreeSet<&str> =
        template.lines().filter_map(|line| line.trim().strip_prefix("RouteKey: ")).collect();
    let routes = of_functions();
    let both = routes
        .iter()
        .flat_map(|Route { name, .. }| [name.clone(), name.replacen(" /", " /api/", 1)]);
    let expected: BTreeSet<String> = both.collect();
    assert_eq!(keys, expected.iter().map(String::as_str).collect());
}

#[test]
fn every_route_has_a_section_with_its_problems() {
    let page = read("docs/api.md");
    let mut routes = of_functions();
    routes.extend(routes_of(&read(NODE)));
    let headings: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`')).collect();
    assert_eq!(headings, routes.iter().map(|route| route.name.as_str()).collect());
    for Route { name, problems } in &routes {
        let text = section(&page, &format!("## `{name}`"));
        let rows = text.lines().filter_map(|line| line.strip_prefix("| [`"));
        let listed: BTreeSet<String> =
            rows.map(|row| row.split('`').next().unwrap().to_owned()).collect();
        assert_eq!(&listed, problems, "{name}");
    }
}
