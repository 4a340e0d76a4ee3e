"""Reads the pickles that NumPy writes into .npy files, and runs nothing of what a pickle can hold.

`np.save` of a dictionary, as in Cellpose's size models (`size_*.npy`) and annotations (`*_seg.npy`), writes a pickle,
and the usual way of reading one executes whatever its author wrote. Here a file can name seven things, each replaced
by a function or a stand-in of this module. Even NumPy's own arrays and dtypes are not restored from what the file says
of them: a crafted dtype makes them read foreign memory.
"""

import io
import pickle
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cellserve_networks.errors import PickledFileError

_Order = Literal["C", "F"]


def load_pickled(path: Path) -> object:
    """Loads a .npy file that holds arrays, numbers, text, None, and lists, tuples, sets and dictionaries of these.

    Args:
        path: written by `np.save` of NumPy 1 or 2.

    Returns:
        The array; what was saved, if that was not an array (a dictionary, say).

    Raises:
        PickledFileError: the file cannot be read, is no .npy file, is damaged, or holds anything else.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PickledFileError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return _load(io.BytesIO(content))
    except PickledFileError as error:
        raise PickledFileError(f"{path}: {error}") from None
    except Exception as error:  # a damaged pickle fails in a dozen unrelated ways
        raise PickledFileError(f"{path}: not a NumPy file, or damaged ({type(error).__name__})") from error


def _load(file: io.BytesIO) -> object:
    version = npy.read_magic(file)
    _, _, dtype = npy.read_array_header_1_0(file) if version == (1, 0) else npy.read_array_header_2_0(file)
    if not dtype.hasobject:
        file.seek(0)
        array: NDArray[Any] = np.load(file, allow_pickle=False)
        return array
    loaded = _plain(_Reader(file).load(), {})
    if not isinstance(loaded, np.ndarray):
        raise PickledFileError("damaged: its header announces an array")
    return loaded.item() if loaded.shape == () else loaded


class _Reader(pickle.Unpickler):
    """An unpickler that knows seven names.

    What it hands out are methods bound to it: a pickle can set attributes of functions and classes, not of these.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Returns what stands for a name in the file."""
        match module.replace("numpy.core", "numpy._core").replace("__builtin__", "builtins"), name:
            case "numpy._core.multiarray", "_reconstruct":
                return self._reconstruct
            case "numpy._core.multiarray", "scalar":
                return self._scalar
            case "numpy", "dtype":
                return self._dtype
            case "numpy", "ndarray":
                return "ndarray"  # an argument of _reconstruct, never called
            case "_codecs", "encode":
                return self._encode
            case "builtins", "set":
                return self._set
            case "builtins", "complex":
                return self._complex
        raise PickledFileError(
            f"refused: it asks for {module[:64]}.{name[:64]}; "
            "only arrays, numbers, text, lists and dictionaries are read"
        )

    def _reconstruct(self, subtype: object, shape: object, typecode: object) -> "_Array":
        return _Array()

    def _dtype(self, name: str, align: object = False, copy: object = True) -> "_Dtype":
        return _Dtype(name)

    def _scalar(self, dtype: "_Dtype", content: bytes) -> Any:
        return _numbers(dtype, (), content, "C")[()]

    def _encode(self, text: str, encoding: str) -> bytes:
        """Bytes, as protocols before 3 wrote them."""
        return text.encode("latin-1")

    def _set(self, values: list[Any]) -> set[Any]:
        return set(values)

    def _complex(self, real: float, imaginary: float) -> complex:
        return complex(real, imaginary)


class _Dtype:
    """Stands for a dtype: booleans, numbers, text or objects; no fields, no dates."""

    __slots__ = ("value",)

    def __init__(self, name: str) -> None:
        if not re.fullmatch(r"[biufc]\d{1,2}|[SU]\d{1,6}|O8?", name):
            raise PickledFileError(f"refused: it holds an array of dtype {name[:64]}")
        self.value = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.value = self.value.newbyteorder(state[1])


class _Array:
    """Stands for an array until all is loaded: a pickle names it before it gives its content."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: NDArray[Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, content = state
        order: _Order = "F" if fortran else "C"
        if not dtype.value.hasobject:
            self.value = _numbers(dtype, shape, content, order)
            return
        if not isinstance(content, list):
            raise PickledFileError("damaged: an array of objects without a list of them")
        flat = np.empty(len(content), dtype=object)
        for index, entry in enumerate(content):  # an assignment of the whole would look into the entries
            flat[index] = entry
        self.value = flat.reshape(shape, order=order)


def _numbers(dtype: _Dtype, shape: tuple[int, ...], content: bytes, order: _Order) -> NDArray[Any]:
    if not isinstance(content, bytes):
        raise PickledFileError("damaged: an array without its bytes")
    return np.frombuffer(content, dtype.value).reshape(shape, order=order).copy(order=order)


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """What the stand-ins in a value stand for; `done` maps the identity of what was met before to its outcome.

    A container that holds itself ends in a RecursionError.
    """
    if id(value) not in done:
        done[id(value)] = _plain_anew(value, done)
    return done[id(value)]


def _plain_anew(value: Any, done: dict[int, Any]) -> Any:
    match value:
        case _Array():
            if value.value.dtype.hasobject:
                flat = value.value.ravel(order="K")
                for index, entry in enumerate(flat):
                    flat[index] = _plain(entry, done)
            return value.value
        case dict():
            return {_plain(key, done): _plain(entry, done) for key, entry in value.items()}
        case list() | tuple() | set() | frozenset():
            return type(value)(_plain(entry, done) for entry in value)
        case None | bool() | int() | float() | complex() | str() | bytes() | np.generic():
            return value
    raise PickledFileError(f"refused: it holds a {type(value).__name__}")
