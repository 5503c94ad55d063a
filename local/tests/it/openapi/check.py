"""Validates the OpenAPI document, and every example in it against its schema."""

import json
import sys

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

document = json.load(open(sys.argv[1]))
wrong = [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()]
checked = 0


def check(where, schema, value):
    # The references in a schema begin at the document's root.
    whole = {"components": document["components"], **schema}
    checker = Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)
    wrong.extend(f"{where}: {error.message}" for error in checker.iter_errors(value))


def walk(where, node):
    global checked
    if isinstance(node, list):
        for index, inner in enumerate(node):
            walk(f"{where}/{index}", inner)
    if not isinstance(node, dict):
        return
    if isinstance(node.get("schema"), dict):
        examples = [one["value"] for one in node.get("examples", {}).values()]
        if "example" in node:
            examples.append(node["example"])
        for value in examples:
            check(where, node["schema"], value)
            checked += 1
    for name, inner in node.items():
        walk(f"{where}/{name}", inner)


walk("", {name: part for name, part in document.items() if name != "components"})
walk("/components/responses", document["components"]["responses"])
for name, schema in document["components"]["schemas"].items():
    for value in schema.get("examples", []):
        check(f"schema {name}", schema, value)
        checked += 1
print("\n".join(wrong) or f"{checked} examples fit")
sys.exit(1 if wrong else 0)
