"""Generates what follows from the chart's values.yaml: values.schema.json, and the table in README.md.

    .venv/bin/python deploy/helm/generate.py           writes both
    .venv/bin/python deploy/helm/generate.py --check   fails if one of them is not what it would write

The comment above a key is its description. A line `# @ {...}` in it holds keywords of JSON Schema, as a YAML mapping;
`ref` names one of the shapes at the end of this file. Keys and types come from the values. Nothing else is allowed, and
nothing may be missing: a value set to null would take its key away, and templates rely on it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from cellserve_gateway.settings import Settings

Schema = dict[str, Any]

CHART = Path(__file__).resolve().parent / "cellserve"
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"

# Settings that follow from other values or from the pod. Given twice, they could contradict the pod's ports and mounts.
CHART_SETTINGS = frozenset(
    {
        "host",
        "port",
        "health_port",
        "http_allowed_origins",
        "http_port",
        "http_root_path",
        "monitoring_port",
        "ready_file",
        "triton_address",
        "model_repository",
        "drain_delay_s",
        "drain_s",
        "tls_certificate",
        "tls_key",
        "tls_client_ca",
        "tokens_file",
        "otlp_endpoint",
    }
)

QUANTITY: Schema = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$"},
    ]
}
STRINGS: Schema = {"type": "object", "additionalProperties": {"type": "string"}, "examples": [{"example.com/a": "b"}]}
RESOURCE_LIST: Schema = {"type": "object", "additionalProperties": {"$ref": "#/definitions/quantity"}}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}


class ValuesError(ValueError):
    """values.yaml cannot be described."""


def values_schema(text: str) -> Schema:
    """Returns the schema of a values.yaml.

    Raises:
        ValuesError: A key has no comment, or one that is not understood.
    """
    root = yaml.compose(text, yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    schema = _describe_mapping(root, text.splitlines(), "")
    # A parent chart hands these to all of its parts.
    schema["properties"]["global"] = {"type": "object", "description": "Of a parent chart; not used."}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart cellserve",
        **schema,
        "definitions": definitions(),
    }


def leaves(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yields the dotted path and the schema of every value that is not a group of values."""
    for name, entry in schema["properties"].items():
        if "properties" in entry:
            yield from leaves(entry, f"{path}{name}.")
        elif entry.get("default") is not None:  # all but `global`
            yield path + name, entry


def table(schema: Schema) -> str:
    """Returns the table of all values, in Markdown."""
    rows = [
        f"| `{path}` | `{json.dumps(entry['default'])}` | {entry['description'].replace('|', chr(92) + '|')} |"
        for path, entry in leaves(schema)
    ]
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *rows])


def outputs() -> dict[Path, str]:
    """Returns what the generated files should hold."""
    schema = values_schema((CHART / "values.yaml").read_text())
    readme = CHART / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return {
        CHART / "values.schema.json": json.dumps(schema, indent=2) + "\n",
        readme: f"{before}{BEGIN}\n{table(schema)}\n{END}{after}",
    }


def _describe_mapping(node: yaml.MappingNode, lines: list[str], path: str) -> Schema:
    properties = {key.value: _describe(key, value, lines, f"{path}{key.value}") for key, value in node.value}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _describe(key: yaml.ScalarNode, value: yaml.Node, lines: list[str], path: str) -> Schema:
    description, keywords = _comment(key, lines, path)
    default: Any = yaml.safe_load(yaml.serialize(value))
    if isinstance(value, yaml.MappingNode) and value.value and "ref" not in keywords:
        return {**({"description": description} if description else {}), **_describe_mapping(value, lines, f"{path}.")}
    if not description:
        raise ValuesError(f"{path}: no comment says what it is for")
    shape = keywords.pop("ref", None)
    kind: Schema = {"allOf": [{"$ref": f"#/definitions/{shape}"}]} if shape else {"type": TYPES[type(default)]}
    return {"description": description, "default": default, **kind, **keywords}


def _comment(key: yaml.ScalarNode, lines: list[str], path: str) -> tuple[str, Schema]:
    """Returns the description and the keywords in the comment right above a key."""
    indent, above = " " * key.start_mark.column, key.start_mark.line
    while above and lines[above - 1].startswith(f"{indent}# "):
        above -= 1
    comment = [line.removeprefix(f"{indent}# ") for line in lines[above : key.start_mark.line]]
    keywords: Schema = {}
    for line in comment:
        if line.startswith("@ "):
            keywords |= yaml.safe_load(line.removeprefix("@ "))
    if "ref" in keywords and keywords["ref"] not in definitions():
        raise ValuesError(f"{path}: no shape is called {keywords['ref']!r}")
    return " ".join(line for line in comment if not line.startswith("@ ")), keywords


def definitions() -> dict[str, Schema]:
    """Returns the shapes that values refer to, by name; tests set values to their `examples`."""
    return {
        "quantity": {**QUANTITY, "examples": ["3"]},
        "strings": STRINGS,
        "podLabels": {
            **STRINGS,
            "propertyNames": {"not": {"pattern": "^app\\.kubernetes\\.io/(name|instance|component)$"}},
        },
        "object": {"type": "object"},
        "objects": {"type": "array", "items": {"type": "object", "minProperties": 1}},
        "environment": {
            "type": "array",
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
        },
        "names": {"type": "array", "items": {"type": "string", "minLength": 1}, "examples": [["example.com/zone"]]},
        "relativePaths": {
            "type": "array",
            "items": {"type": "string", "pattern": "^[^/@]"},
            "examples": [["plate-9", "plates/*/*.tif"]],
        },
        "groups": {
            "type": "array",
            "items": {"type": "integer", "minimum": 1, "maximum": 2147483647},
            "examples": [[5000]],
        },
        "localReferences": {
            "type": "array",
            "items": _closed({"name": {"type": "string", "minLength": 1}}),
            "examples": [[{"name": "other"}]],
        },
        "name": _text(r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", "other"),
        "prefix": _text(r"^([a-z]([-a-z0-9]*[a-z0-9])?)?$", "other"),
        "tag": _text(r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$", "9.9.9"),
        "digest": _text(r"^(sha256:[0-9a-f]{64})?$", f"sha256:{'0123456789abcdef' * 4}"),
        "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
        "key": _text(r"^[-._A-Za-z0-9]+$", "other"),
        "optionalKey": _text(r"^[-._A-Za-z0-9]*$", "other"),
        "duration": _text(r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$", "7s"),
        "port": PORT,
        "ports": {"type": "array", "items": PORT, "minItems": 1, "examples": [[5353]]},
        "countOrPercentage": {
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,3}%$"}],
            "examples": ["25%"],
        },
        "resources": {
            **_closed({"requests": RESOURCE_LIST, "limits": RESOURCE_LIST}),
            "examples": [{"requests": {"cpu": 3}, "limits": {"cpu": 7, "nvidia.com/gpu": 1}}],
        },
        "gatewaySettings": _gateway_settings(),
    }


def _closed(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _text(pattern: str, example: str) -> Schema:
    return {"type": "string", "pattern": pattern, "examples": [example]}


def _gateway_settings() -> Schema:
    """Returns the shape of the settings that an operator may give, as the gateway itself defines them."""
    fields: dict[str, Schema] = Settings.model_json_schema()["properties"]
    return _closed(
        {
            name: {key: value for key, value in field.items() if key != "title"}
            for name, field in sorted(fields.items())
            if name not in CHART_SETTINGS
        }
    )


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if something is stale")
    check = parser.parse_args().check
    stale = {path: content for path, content in outputs().items() if not path.exists() or path.read_text() != content}
    for path, content in stale.items():
        if check:
            print(f"{path.name} is stale; run deploy/helm/generate.py", file=sys.stderr)
        else:
            path.write_text(content)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
