"""model.json: one schema, which all of its readers accept and refuse alike."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from cellserve_contract.model_card import Family, ModelJsonError, NetworkFile, SizeModelNumbers

ROOT = Path(__file__).parents[3]
SIZES = {"coefficients": [0.5] * 256, "style_mean": [0.25] * 256, "log_diameter_mean": -0.5, "diam_mean": 30}
CONTENT = {
    "family": "cells",
    "description": "d",
    "diam_mean": 30,
    "diam_labels": 32.5,
    "channels": ["cytoplasm", "nucleus"],
    "license": "l",
    "provenance": "p",
    "tile_size": 224,
    "size_model": SIZES,
    "networks": {name: {"sha256": "0" * 64, "weights": "fp16"} for name in ("cells", "cells_single", "cells_style")},
    "sources": ["1" * 64],
    "exporter": {"onnx": "1"},
}


def test_the_content_survives():
    family = Family.from_json(json.dumps(CONTENT))
    assert family.networks["cells"] == NetworkFile("0" * 64, "fp16")
    assert family.size_model == SizeModelNumbers((0.5,) * 256, (0.25,) * 256, -0.5, 30.0)
    assert (family.network(ensemble=True), family.network(ensemble=False)) == ("cells", "cells_single")
    assert json.loads(json.dumps(family.to_json())) == CONTENT


def test_the_family_of_this_repository_is_one():
    content = (ROOT / "model_repository/generalist/model.json").read_bytes()
    family = Family.from_json(content)
    assert json.loads(json.dumps(family.to_json())) == json.loads(content)


def test_what_may_be_missing_and_what_is_not_known():
    content = {key: CONTENT[key] for key in CONTENT.keys() - {"size_model", "sources", "exporter", "diam_labels"}}
    family = Family.from_json(json.dumps(content | {"later": 1}))
    assert (family.size_model, family.sources, family.exporter, family.diam_labels) == (None, (), {}, None)


@pytest.mark.parametrize(("diam_labels", "default"), [(32.5, 32.5), (None, CONTENT["diam_mean"])])
def test_the_default_diameter_is_that_of_the_training_objects_if_known(diam_labels, default):
    assert Family.from_json(json.dumps(CONTENT | {"diam_labels": diam_labels})).default_diameter == default


@pytest.mark.parametrize("key", sorted(CONTENT.keys() - {"size_model", "sources", "exporter", "diam_labels"}))
def test_what_must_not_be_missing(key):
    with pytest.raises(ModelJsonError, match=key):
        Family.from_json(json.dumps({other: value for other, value in CONTENT.items() if other != key}))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"diam_mean": 0}, "diam_mean"),
        ({"diam_mean": "30"}, "diam_mean"),
        ({"diam_mean": float("inf")}, "diam_mean"),
        ({"diam_labels": -1}, "diam_labels"),
        ({"tile_size": 0}, "tile_size"),
        ({"tile_size": 22.5}, "tile_size"),
        ({"tile_size": True}, "tile_size"),
        ({"channels": "nucleus"}, "channels"),
        ({"channels": [1]}, "channels"),
        ({"networks": []}, "networks"),
        ({"networks": {"cells": "0" * 64}}, "cells"),
        ({"networks": {"cells": {"sha256": "x"}}}, "sha256"),
        ({"networks": {"cells": {"sha256": "0" * 64, "weights": "int8"}}}, "weights"),
        ({"networks": {"cells": {"sha256": "0" * 64}}}, "needs the network cells_single and cells_style"),
        ({"size_model": SIZES | {"coefficients": [0.5] * 255}}, "coefficients.*256 finite numbers"),
        ({"size_model": SIZES | {"coefficients": ["1"] * 256}}, "coefficients: expected numbers"),
        ({"size_model": SIZES | {"style_mean": [float("nan")] * 256}}, "style_mean.*256 finite numbers"),
        ({"size_model": SIZES | {"diam_mean": 0}}, "diam_mean"),
        ({"size_model": {"coefficients": [0.5] * 256}}, "style_mean"),
    ],
)
def test_what_is_refused(changes, text):
    with pytest.raises(ModelJsonError, match=text):
        Family.from_json(json.dumps(CONTENT | changes))


@pytest.mark.parametrize("content", ["", "[]", "null", "{"])
def test_what_is_no_description(content):
    with pytest.raises(ModelJsonError):
        Family.from_json(content)


@pytest.mark.parametrize(
    "changes",
    [{}, {"family": "other"}, {"networks": {"cells": {"sha256": "x"}}}, {"networks": {"cells": {}}}, {"networks": 1}],
)
def test_the_verification_of_deployments_agrees(tmp_path, changes):
    """deploy/triton/verify_models.py runs where this package is not installed, so it reads model.json by itself."""
    spec = importlib.util.spec_from_file_location("verify_models", ROOT / "deploy/triton/verify_models.py")
    verify = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(verify)
    content = json.dumps(CONTENT | {"size_model": None} | changes)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells/model.json").write_text(content)
    try:
        family = Family.from_json(content)
        expected = {name: file.sha256 for name, file in family.networks.items()} if family.name == "cells" else None
    except ModelJsonError:
        expected = None
    if expected is None:
        with pytest.raises(ValueError, match="cells"):
            verify.networks_of(verify.Repository(tmp_path), "cells/model.json")
    else:
        assert verify.networks_of(verify.Repository(tmp_path), "cells/model.json") == expected
