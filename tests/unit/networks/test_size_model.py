"""Files of size models: our JSON and Cellpose's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cellserve_networks.errors import PickledFileError, SizeModelError
from cellserve_networks.size_model import read_size_model, write_size_model
from cellserve_postprocess import STYLE_SIZE, SizeModel


def _cellpose() -> dict[str, Any]:
    """What Cellpose saves."""
    rng = np.random.default_rng(0)
    return {
        "A": rng.normal(0, 0.2, STYLE_SIZE),
        "smean": rng.random(STYLE_SIZE).astype(np.float32),
        "diam_mean": 30.0,
        "ymean": np.float32(-0.125),
    }


@pytest.fixture
def model() -> SizeModel:
    rng = np.random.default_rng(1)
    numbers = [tuple(rng.normal(size=STYLE_SIZE).tolist()) for _ in range(2)]
    return SizeModel(numbers[0], numbers[1], 0.3, 17.0)


def test_a_file_of_cellpose_predicts_what_cellpose_does(tmp_path: Path) -> None:
    params = _cellpose()
    np.save(tmp_path / "size_cytotorch_0.npy", params)
    model = read_size_model(tmp_path / "size_cytotorch_0.npy")
    styles = np.random.default_rng(2).random((20, STYLE_SIZE), dtype=np.float32)
    styles /= np.linalg.norm(styles, axis=1, keepdims=True)
    for style in styles:
        size = np.exp(params["A"] @ (style - params["smean"]) + np.log(params["diam_mean"]) + params["ymean"])
        assert model.diameter(style) == pytest.approx(max(5.0, float(size)), rel=1e-5)


def test_our_own_files_survive(tmp_path: Path, model: SizeModel) -> None:
    write_size_model(tmp_path / "sizes.json", model)
    assert read_size_model(tmp_path / "sizes.json") == model
    assert len((tmp_path / "sizes.json").read_text().splitlines()) == 6, "a list is a line"


BAD_FILES: dict[str, tuple[Any, str]] = {
    "no dictionary": ([1, 2], "not a size model of Cellpose"),
    "an array": (np.zeros(3), "not a size model of Cellpose"),
    "a key is missing": ({"A": np.zeros(256), "smean": np.zeros(256), "diam_mean": 30.0}, "no 'ymean'"),
    "too few numbers": (_cellpose() | {"A": np.zeros(255)}, "coefficients of a size model: expected 256"),
    "NaN": (_cellpose() | {"smean": np.full(256, np.nan)}, "style_mean of a size model: expected 256 finite"),
    "text": (_cellpose() | {"A": "numbers"}, "not a size model of Cellpose"),
    "no diameter": (_cellpose() | {"diam_mean": 0.0}, "diam_mean of a size model is 0"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_refuses_other_npy_files(tmp_path: Path, case: str) -> None:
    content, message = BAD_FILES[case]
    np.save(tmp_path / "size.npy", content)
    with pytest.raises(SizeModelError, match=rf"size\.npy: .*{message}"):
        read_size_model(tmp_path / "size.npy")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"coefficients": 3}', "null", "\x00"])
def test_refuses_other_text_files(tmp_path: Path, content: str) -> None:
    (tmp_path / "sizes.json").write_text(content)
    with pytest.raises(SizeModelError, match=r"sizes\.json: not a size model"):
        read_size_model(tmp_path / "sizes.json")


def test_refuses_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SizeModelError, match="cannot be read"):
        read_size_model(tmp_path / "missing.json")
    (tmp_path / "size.npy").write_bytes(b"\x93NUMPY\x01\x00")
    with pytest.raises(PickledFileError, match="damaged"):
        read_size_model(tmp_path / "size.npy")
