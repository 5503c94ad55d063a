//! `docs/configuration.md` lists what the readers of the settings ask for, and nothing else.

use std::fmt::Write as _;

use shared::settings::{Database, Http, Log, Reader, Tokens, Variable};

use super::{read, root};

const PAGE: &str = "docs/configuration.md";
/// Read with the rest of the machine's group, but only `cargo dev test` starts them.
const PROGRAMS: [&str; 2] = ["REDIS_BIN", "CHROMIUM_BIN"];
const END: &str = "<!-- end of the table -->";

/// A table of the page: its name in the comment before it, and what it lists.
type Table = (&'static str, Vec<Variable>);

#[test]
fn the_tables_of_settings_are_what_the_code_asks_for() {
    let (update, own) = update_docs();
    let page = read(PAGE);
    let mut fresh = page.clone();
    let tables = tables(own);
    for (name, variables) in &tables {
        replace(&mut fresh, name, &render(variables));
    }
    assert_eq!(fresh.matches("<!-- table: ").count(), tables.len(), "a table nobody asks for");
    if update {
        std::fs::write(root().join(PAGE), &fresh).unwrap();
    } else {
        let different = fresh.lines().zip(page.lines()).find(|(fresh, page)| fresh != page);
        let hint = "`UPDATE_DOCS=on cargo dev test rust -- docs` writes the tables anew";
        assert!(fresh == page, "{different:?}\n{hint}");
    }
}

/// `UPDATE_DOCS` and how it is documented.
fn update_docs() -> (bool, Vec<Variable>) {
    let mut reader = Reader::from_env();
    let about = "`on`: the test of this page writes its tables anew instead of comparing them.";
    let update = reader.get("UPDATE_DOCS", "off", about);
    let variables = reader.variables().to_vec();
    reader.finish().unwrap();
    (update, variables)
}

/// Each process's variables but those that an earlier table lists with the same default and meaning.
fn tables(own: Vec<Variable>) -> Vec<Table> {
    let tables = [
        ("every process", of_every_process()),
        ("functions", of_functions()),
        ("node", of_node()),
        ("cargo run", of_cargo_run()),
        ("tests and tools", of_tests(own)),
    ];
    let mut listed: Vec<Variable> = Vec::new();
    let mut only_new = |variables: Vec<Variable>| {
        let mut new: Vec<Variable> = Vec::new();
        for variable in variables {
            if !listed.contains(&variable) && !new.contains(&variable) {
                new.push(variable);
            }
        }
        listed.extend(new.iter().cloned());
        new
    };
    tables.map(|(name, variables)| (name, only_new(variables))).into()
}

fn of_every_process() -> Vec<Variable> {
    let mut reader = nothing_set();
    Database::read(&mut reader);
    Http::read(&mut reader, "off");
    Tokens::read(&mut reader);
    Log::read(&mut reader);
    reader.variables().to_vec()
}

fn of_functions() -> Vec<Variable> {
    let mut reader = nothing_set();
    functions::settings::lambda::Settings::read(&mut reader, &[]);
    reader.variables().to_vec()
}

fn of_node() -> Vec<Variable> {
    // With an address the node reads the rest of the database's group too.
    let mut reader = Reader::from_pairs([("DATABASE_URL", "postgres://localhost/keywire")]);
    realtime::settings::Binary::read(&mut reader);
    reader.variables().to_vec()
}

/// Without those of its commands.
fn of_cargo_run() -> Vec<Variable> {
    let mut variables = local::settings::variables();
    variables.retain(|variable| !PROGRAMS.contains(&variable.name));
    variables
}

fn of_tests(own: Vec<Variable>) -> Vec<Variable> {
    let mut variables = local::settings::variables();
    variables.retain(|variable| PROGRAMS.contains(&variable.name));
    [variables, own].concat()
}

fn nothing_set() -> Reader {
    Reader::from_pairs([("", ""); 0])
}

fn render(variables: &[Variable]) -> String {
    let mut table = String::from("| variable | default | meaning |\n| --- | --- | --- |\n");
    for Variable { name, default, about } in variables {
        let default = if default.is_empty() { "none".to_owned() } else { format!("`{default}`") };
        writeln!(table, "| `{name}` | {default} | {about} |").unwrap();
    }
    table
}

/// Puts the table between its two comments.
fn replace(page: &mut String, name: &str, table: &str) {
    let begin = format!("<!-- table: {name} -->\n");
    let start = page.find(&begin).unwrap_or_else(|| panic!("no {begin}")) + begin.len();
    let length = page[start..].find(END).unwrap_or_else(|| panic!("no {END} after {begin}"));
    page.replace_range(start..start + length, table);
}
