"""The forms of the issue tracker, and the citation."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from cellserve_gateway import __version__

ROOT = Path(__file__).parents[3]
FORMS = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_is_one_that_github_takes(path):
    form = yaml.safe_load(path.read_text())
    assert set(form) == {"name", "description", "labels", "body"}
    assert any(part.get("validations", {}).get("required") for part in form["body"])
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(ids) == len(set(ids))
    for part in form["body"]:
        assert set(part) <= {"type", "id", "attributes", "validations"}
        required, allowed = {
            "markdown": ({"value"}, set()),
            "input": ({"label"}, {"description"}),
            "textarea": ({"label"}, {"description", "render"}),
            "dropdown": ({"label", "options"}, {"description"}),
            "checkboxes": ({"label", "options"}, {"description"}),
        }[part["type"]]
        assert required <= set(part["attributes"]) <= required | allowed


def test_a_wrong_result_comes_with_image_and_provenance():
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/wrong-result.yml").read_text())
    required = {part["id"] for part in form["body"] if part.get("validations", {}).get("required")}
    assert {"image", "provenance"} <= required


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert citation["references"][0]["doi"] == "10.1038/s41592-020-01018-x"
