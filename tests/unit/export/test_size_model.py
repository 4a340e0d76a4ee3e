"""Families get size models."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cellserve_export.errors import FamilyError
from cellserve_export.family import Family, set_size_model, write_family
from cellserve_networks.checkpoint import Checkpoint
from cellserve_postprocess import STYLE_SIZE, SizeModel


@pytest.fixture
def model() -> SizeModel:
    rng = np.random.default_rng(1)
    numbers = [tuple(rng.normal(size=STYLE_SIZE).tolist()) for _ in range(2)]
    return SizeModel(numbers[0], numbers[1], 0.3, 17.0)


def _describe(repository: Path, **changes: Any) -> Path:
    (repository / "cells").mkdir(parents=True)
    path = repository / "cells" / "model.json"
    networks = {name: {"sha256": "0" * 64, "weights": "fp16"} for name in ("cells", "cells_single", "cells_style")}
    content = {
        "family": "cells",
        "description": "ü [ 1 ]",
        "diam_mean": 30.0,
        "channels": ["cytoplasm"],
        "license": "l",
        "provenance": "p",
        "tile_size": 224,
        "networks": networks,
        "diam_labels": None,
        "size_model": None,
        "sources": ["1" * 64],
        "exporter": {"onnx": "1"},
    }
    path.write_text(json.dumps(content | changes))
    return path


def test_a_family_gets_a_size_model_and_keeps_the_rest(tmp_path: Path, model: SizeModel) -> None:
    path = _describe(tmp_path)
    before = json.loads(path.read_text())
    for sizes in (model, SizeModel(model.style_mean, model.coefficients, 0.0, 30.0)):
        set_size_model(tmp_path, "cells", sizes, overwrite=sizes is not model)
        after = json.loads(path.read_text())
        assert after.keys() == before.keys()
        assert {key: value for key, value in after.items() if key != "size_model"} == {
            key: value for key, value in before.items() if key != "size_model"
        }
        assert tuple(after["size_model"]["coefficients"]) == sizes.coefficients
    assert [entry.name for entry in path.parent.iterdir()] == ["model.json"], "no partial file stays"


def test_refuses_families_that_are_not_there(tmp_path: Path, model: SizeModel) -> None:
    with pytest.raises(FamilyError, match="no family 'cells'"):
        set_size_model(tmp_path, "cells", model)
    path = _describe(tmp_path, family="other", size_model=None)
    with pytest.raises(FamilyError, match="does not describe the family 'cells'"):
        set_size_model(tmp_path, "cells", model)
    path.write_text("{")
    with pytest.raises(FamilyError, match="not JSON"):
        set_size_model(tmp_path, "cells", model)


def test_a_failed_write_leaves_the_family_as_it_was(
    tmp_path: Path, model: SizeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _describe(tmp_path)
    before = path.read_bytes()

    def fail(self: Path, target: Path) -> Path:
        raise OSError("disk error")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk error"):
        set_size_model(tmp_path, "cells", model)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["model.json"]


def test_an_export_takes_a_size_model_along(checkpoints: list[Checkpoint], tmp_path: Path, model: SizeModel) -> None:
    about = Family("cells", "", "", "", size_model=model)
    write_family(tmp_path, about, checkpoints[:1], "fp16", {})
    description = json.loads((tmp_path / "cells" / "model.json").read_text())
    sizes = description["size_model"]
    assert SizeModel(tuple(sizes.pop("coefficients")), tuple(sizes.pop("style_mean")), **sizes) == model
