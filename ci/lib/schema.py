#!/usr/bin/env python3
"""schema.py SCHEMA: holds the JSON on standard input against a JSON Schema, as far as docs/status.schema.json uses one.

Prints each place that does not fit and exits with 1. A key that the schema does not name is one: nothing is told that is
not promised.
"""
import json
import sys

KINDS = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list}


def misfits(value, schema, at, root):
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in schema:
        tries = [list(misfits(value, one, at, root)) for one in schema["anyOf"]]
        yield from min(tries, key=len)
        return
    kind = schema.get("type")
    if kind and type(value) is not KINDS[kind]:
        yield f"{at}: {value!r} is no {kind}"
        return
    if "const" in schema and value != schema["const"] or "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r}"
    if "minimum" in schema and value < schema["minimum"]:
        yield f"{at}: {value!r} is too small"
    if kind == "object":
        yield from (f"{at}.{key} is missing" for key in schema["required"] if key not in value)
        for key, inner in value.items():
            if key not in schema["properties"]:
                yield f"{at}.{key} is not promised"
            else:
                yield from misfits(inner, schema["properties"][key], f"{at}.{key}", root)
    if kind == "array":
        for number, inner in enumerate(value):
            yield from misfits(inner, schema["items"], f"{at}[{number}]", root)


with open(sys.argv[1]) as file:
    schema = json.load(file)
found = list(misfits(json.load(sys.stdin), schema, "", schema))
print("\n".join(found), end="\n" if found else "")
sys.exit(1 if found else 0)
