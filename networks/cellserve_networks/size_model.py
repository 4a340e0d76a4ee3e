"""Files of size models: JSON of this project, and Cellpose's own `size_*.npy`."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from cellserve_formats.files import write_json
from cellserve_postprocess import SizeModel

from cellserve_networks.errors import SizeModelError
from cellserve_networks.pickles import load_pickled

_NPY = b"\x93NUMPY"


def read_size_model(path: Path) -> SizeModel:
    """Reads a size model of either format; nothing in the file is executed.

    Args:
        path: JSON as `write_size_model` writes it, or a `size_*.npy` of Cellpose 1 to 3.

    Raises:
        SizeModelError: the file cannot be read or holds no size model.
        PickledFileError: a .npy file is damaged or holds more than plain data.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SizeModelError(f"{path}: cannot be read: {error.strerror}") from error
    if content.startswith(_NPY):
        return _of_cellpose(path, load_pickled(path))
    try:
        return _of_json(json.loads(content))
    except (ValueError, TypeError, KeyError) as error:
        raise SizeModelError(f"{path}: not a size model: {_reason(error)}") from error


def write_size_model(path: Path, model: SizeModel) -> None:
    """Writes a size model as JSON, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    write_json(path, asdict(model))


def _of_json(content: Mapping[str, Any]) -> SizeModel:
    return SizeModel(
        tuple(map(float, content["coefficients"])),
        tuple(map(float, content["style_mean"])),
        float(content["log_diameter_mean"]),
        float(content["diam_mean"]),
    )


def _of_cellpose(path: Path, content: Any) -> SizeModel:
    """Cellpose saves a dictionary: coefficients `A`, `smean`, `ymean` and `diam_mean` mean what ours do."""
    try:
        return SizeModel(
            tuple(np.ravel(content["A"]).astype(float).tolist()),
            tuple(np.ravel(content["smean"]).astype(float).tolist()),
            float(content["ymean"]),
            float(content["diam_mean"]),
        )
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise SizeModelError(f"{path}: not a size model of Cellpose: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)
