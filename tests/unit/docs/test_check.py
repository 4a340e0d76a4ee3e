"""The check of the built site finds what it has to find."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.site.check import problems

GOOD = """<html><head><link rel="stylesheet" href="_static/site.css?v=1"><script src="_static/site.js"></script></head>
<body><h1 id="top">A</h1><a href="#top">up</a><a href="sub/b.html#b">b</a><a href="https://example.org">away</a>
<img src="data:image/png;base64,AAAA"></body></html>"""


def site(folder: Path, **files: str) -> Path:
    for name, text in {
        "_static/site.css": "",
        "_static/site.js": "",
        "sub/b.html": '<p id="b">',
        "index.html": GOOD,
        **files,
    }.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def test_a_right_site_has_no_problems(tmp_path):
    assert list(problems(site(tmp_path))) == []


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.html", '<a href="c.html">', "c.html does not exist"),
        ("a.html", '<a href="sub/b.html#c">', "sub/b.html#c has no such anchor"),
        ("sub/a.html", '<a href="b.html#c">', "b.html#c has no such anchor"),
        ("a.html", '<a href="#c">', "#c has no such anchor"),
        ("a.html", '<img src="picture.jpg">', "picture.jpg does not exist"),
        ("a.html", '<img src="https://example.org/a.png">', "loads https://example.org/a.png"),
        ("a.html", '<script src="//example.org/a.js"></script>', "loads //example.org/a.js"),
        ("a.html", '<link rel="preconnect" href="https://example.org">', "loads https://example.org"),
        ("a.html", "<style>@import 'https://example.org/a.css';</style>", "loads https://example.org/a.css"),
        ("a.html", '<p style="background: url(https://example.org/a.png)">', "loads https://example.org/a.png"),
        ("a.html", '<script>import "https://example.org/a.js"</script>', "loads https://example.org/a.js"),
        ("_static/site.css", '@font-face {src: url("https://example.org/a.woff")}', "loads https://example.org/a.woff"),
        ("_static/site.js", 'import("https://example.org/a.js")', "loads https://example.org/a.js"),
    ],
)
def test_what_is_wrong_is_found(tmp_path, name, text, problem):
    found = list(problems(site(tmp_path, **{name: text})))
    assert len(found) == 1
    assert found[0].startswith(name)
    assert found[0].endswith(problem)


def test_a_folder_without_pages_is_wrong(tmp_path):
    assert list(problems(tmp_path)) == [f"{tmp_path} has no pages"]
