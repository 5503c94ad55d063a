//! `template.yaml` as JSON, and what is asked of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde_json::Value;

use super::super::tools::{python, succeed};

/// The template as JSON, short forms like `!Ref` written out.
pub(super) fn template() -> &'static Value {
    static TEMPLATE: OnceLock<Value> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let script = "import json, sys\nfrom samtranslator.yaml_helper import yaml_parse\n\
                      json.dump(yaml_parse(open('template.yaml')), sys.stdout)";
        serde_json::from_str(&succeed(python().args(["-c", script]))).unwrap()
    })
}

/// The resources of one type, by name, each as its properties.
pub(super) fn resources(kind: &str) -> BTreeMap<&'static str, &'static Value> {
    let all = template()["Resources"].as_object().unwrap();
    let of_kind = all.iter().filter(|(_, resource)| resource["Type"] == kind);
    of_kind.map(|(name, resource)| (name.as_str(), &resource["Properties"])).collect()
}

/// A function's property, or what the globals say.
pub(super) fn property(function: &'static Value, name: &str) -> &'static Value {
    let own = &function[name];
    if own.is_null() { &template()["Globals"]["Function"][name] } else { own }
}

/// A function's whole environment.
pub(super) fn environment(function: &'static Value) -> BTreeMap<&'static str, &'static Value> {
    let globals = &template()["Globals"]["Function"]["Environment"]["Variables"];
    let own = &function["Environment"]["Variables"];
    let maps = [globals, own].into_iter().filter_map(Value::as_object);
    maps.flatten().map(|(name, value)| (name.as_str(), value)).collect()
}

/// `login` → `Login`, the first word of its resources' names.
pub(super) fn title(binary: &str) -> String {
    binary[..1].to_uppercase() + &binary[1..]
}

/// A string, or each string of a list.
pub(super) fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().map(|each| each.as_str().unwrap()).collect(),
        other => panic!("neither a string nor a list: {other}"),
    }
}

/// The statements of every policy of a role.
pub(super) fn statements(role: &Value) -> Vec<&Value> {
    let policies = role["Policies"].as_array().unwrap().iter();
    policies.flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().unwrap()).collect()
}

/// The names in every `Ref`, `GetAtt`, `Sub` and `DependsOn`, which the linter does not follow
/// everywhere.
pub(super) fn references(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                names.extend(named_by(key, inner));
                references(inner, names);
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| references(inner, names)),
        _ => {}
    }
}

/// The names that one intrinsic function mentions.
fn named_by(function: &str, argument: &Value) -> Vec<String> {
    let names = match (function, argument) {
        ("Ref", Value::String(name)) => vec![name.as_str()],
        ("Fn::GetAtt", Value::Array(parts)) => strings(&parts[0]),
        ("DependsOn", list) => strings(list),
        ("Fn::Sub", Value::String(text)) => {
            let holes = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
            holes.filter_map(|(name, _)| name.split('.').next()).collect()
        }
        _ => vec![],
    };
    names.into_iter().map(str::to_owned).collect()
}
