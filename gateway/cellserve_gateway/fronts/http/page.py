"""The page /docs: the OpenAPI description as one HTML page without scripts, fonts or links to other servers."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from cellserve_contract.reasons import server_reasons

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; }
code, pre { font: 13px/1.5 ui-monospace, monospace; }
pre { background: #8882; padding: .8rem; overflow-x: auto; }
:target { background: #fe86; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""Content-Security-Policy of the page."""


def html_page(openapi: dict[str, Any], root_path: str) -> str:
    """Returns the page.

    Args:
        openapi: OpenAPI description of the interface.
        root_path: Path prefix under which callers see the gateway.
    """
    info = openapi["info"]
    operations = [
        _operation(method, path, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    address = f"http://HOST:PORT{root_path}/v1/segment?diameter=30"
    example = f'curl --data-binary @image.tif -H "Accept: image/tiff" "{address}" -o labels.tif'
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{escape(info["title"])}</title><style>{STYLE}</style></head>
<body>
<h1>{escape(info["title"])} {escape(info["version"])}</h1>
<p>{escape(info["description"])} For programs: <a href="{escape(root_path)}/openapi.json">openapi.json</a>.</p>
<pre>{escape(example)}</pre>
{"".join(operations)}
<h2>Reasons of problems</h2>
{_table(("reason", "what happened", "what to do"), _reasons(), ids=True)}
</body>
</html>
"""


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation.get('description', ''))}</p>"]
    if body := operation.get("requestBody"):
        parts.append(f"<p>Body: {escape(body['description'])}</p>")
    if parameters := operation.get("parameters"):
        parts.append(_table(("parameter", "values", "default", "meaning"), map(parameter_row, parameters)))
    content = operation["responses"].get("200", {}).get("content", {})
    kinds = [(kind, about["schema"]["description"]) for kind, about in content.items() if "schema" in about]
    if path.endswith("/segment"):
        parts.append(_table(("Accept", "answer"), kinds))
    return "".join(parts)


def parameter_row(parameter: dict[str, Any]) -> tuple[str, ...]:
    """Returns name, values, default and meaning of a parameter of the OpenAPI description."""
    schema = parameter["schema"]
    default = schema.get("default", "")
    return (
        parameter["name"],
        _values(schema),
        str(default).lower() if isinstance(default, bool) else str(default),
        parameter["description"],
    )


def _values(schema: dict[str, Any]) -> str:
    if words := schema.get("enum"):
        return ", ".join(words)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    if low is None:
        return str(schema["type"])
    above = "above " if "exclusiveMinimum" in schema else ""
    return f"{schema['type']}, {above}{low} to {schema['maximum']}"


def _reasons() -> Iterable[tuple[str, ...]]:
    return ((reason.name, reason.meaning, reason.remedy) for reason in server_reasons())


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], ids: bool = False) -> str:
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = [f"<tr>{cells}</tr>"]
    for first, *rest in rows:
        anchor = f' id="{escape(first)}"' if ids else ""
        others = "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        lines.append(f"<tr{anchor}><td><code>{escape(first)}</code></td>{others}</tr>")
    return f"<table>{''.join(lines)}</table>"
