"""Pickled .npy files: what NumPy and Cellpose write is read, and nothing in a file is ever run."""

import os
import pickle
import pickletools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cellserve_networks.errors import PickledFileError
from cellserve_networks.pickles import load_pickled
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib import format as npy


def _write(path: Path, stream: bytes) -> Path:
    """An object array's header, followed by a pickle of our choice."""
    with path.open("wb") as file:
        npy.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(stream)
    return path


def _as_numpy_1(content: object) -> bytes:
    """The stream NumPy 1 writes: protocol 3, other module names."""
    stream = pickle.dumps(np.array(content, dtype=object), protocol=3)
    return stream.replace(b"numpy._core", b"numpy.core")


def annotation() -> dict[str, Any]:
    """What Cellpose keeps of an image."""
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 9, (12, 15)).astype(np.uint16)
    return {
        "outlines": masks * (masks > 4),
        "colors": rng.integers(0, 255, (9, 3)),
        "masks": np.asfortranarray(masks),
        "chan_choose": [0, 0],
        "img": rng.random((12, 15, 3), dtype=np.float32),
        "filename": "cells/é.tif",
        "flows": [masks.astype(">i4"), [], None, rng.random((2, 12, 15)), np.float64(0.4)],
        "ismanual": np.zeros(9, bool),
        "manual_changes": [["12:00:01", "added", [np.int64(3), (1.5, True)]]],
        "model_path": 0,
        "est_diam": np.float32(30.5),
        "names": np.array(["a", "bcd"]),
        "masks3d": np.array([masks, None], dtype=object),
        "kinds": {"x", 2},
        "ratio": 1j,
        "raw": b"\x00\xff",
    }


def equal(actual: object, expected: object) -> bool:
    if isinstance(expected, np.ndarray):
        assert type(actual) is np.ndarray, "a plain array"
        if expected.dtype == object:
            return actual.shape == expected.shape and all(map(equal, actual.ravel(), expected.ravel()))
        return actual.dtype == expected.dtype and np.array_equal(actual, expected) and bool(actual.flags.writeable)
    if isinstance(expected, dict):
        assert isinstance(actual, dict)
        return actual.keys() == expected.keys() and all(equal(actual[key], expected[key]) for key in expected)
    if isinstance(expected, list | tuple):
        assert isinstance(actual, list | tuple)
        return type(actual) is type(expected) and len(actual) == len(expected) and all(map(equal, actual, expected))
    return type(actual) is type(expected) and actual == expected


def test_reads_annotations_of_numpy_2(tmp_path: Path) -> None:
    np.save(tmp_path / "image_seg.npy", annotation())
    assert equal(load_pickled(tmp_path / "image_seg.npy"), annotation())


def test_reads_annotations_of_numpy_1(tmp_path: Path) -> None:
    path = _write(tmp_path / "image_seg.npy", _as_numpy_1(annotation()))
    assert b"numpy.core.multiarray" in path.read_bytes()
    assert equal(load_pickled(path), annotation())


@pytest.mark.parametrize("protocol", range(5))
def test_reads_every_protocol_numpy_ever_used(tmp_path: Path, protocol: int) -> None:
    content = np.array(annotation(), dtype=object)
    assert equal(load_pickled(_write(tmp_path / "a.npy", pickle.dumps(content, protocol=protocol))), annotation())


@pytest.mark.parametrize("array", [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([{"a": 1}, None])])
def test_arrays_come_back_as_arrays(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    assert equal(load_pickled(tmp_path / "a.npy"), array)


class _Runs:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_in_a_file_is_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "mark"
    calls = [
        _Runs(os.system, f"touch {mark}"),
        _Runs(eval, f"open({str(mark)!r}, 'w')"),
        _Runs(exec, f"open({str(mark)!r}, 'w')"),
        _Runs(np.save, str(mark), 1),
        _Runs(np.load, str(mark)),
        _Runs(np.ndarray, (10**9,)),
        _Runs(getattr, "text", "format"),
        Path(mark),
        np.dtype([("a", "i4")]),
    ]
    for call in calls:
        for content in (call, {"A": [call]}, np.array(call, dtype=object)):
            path = _write(tmp_path / "bad.npy", pickle.dumps(content, protocol=protocol))
            with pytest.raises(PickledFileError, match=r"bad\.npy: (refused: it (asks for|holds) |not a NumPy file)"):
                load_pickled(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.npy"]


def test_the_message_names_what_was_asked_for(tmp_path: Path) -> None:
    path = _write(tmp_path / "bad.npy", pickle.dumps(_Runs(os.system, "true")))
    with pytest.raises(PickledFileError, match=r"it asks for posix\.system; only arrays"):
        load_pickled(path)


def _array(dtype: bytes, state: bytes, content: bytes) -> bytes:
    """A hand-written pickle of an array: reconstruct, then a state with the dtype and content given."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I1\ntcnumpy\ndtype\n(S'" + dtype + b"'\nI00\nI01\ntR" + state + b"I00\n" + content + b"tb."
    )


FORGED = {
    "an object array made of bytes": _array(b"O8", b"", b"C\x01A"),
    "a dtype that hides its references": _array(b"O8", b"(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb", b"C\x01A"),
    "a dtype of fields": _array(b"V8", b"", b"C\x08AAAAAAAA"),
    "a date": _array(b"M8", b"", b"C\x08AAAAAAAA"),
    "too little content": _array(b"f8", b"", b"C\x04AAAA"),
    "a number for content": _array(b"f8", b"", b"I1000000000000\n"),
    "attributes set on a function": b"cnumpy.core.multiarray\nscalar\n(N(dS'__code__'\nI1\nstb.",
    "attributes set on a stand-in": b"cnumpy\ndtype\n(S'f8'\nI00\nI01\ntR(N(dS'__class__'\nI1\nstb.",
    "a function as content": b"cnumpy.core.multiarray\nscalar\n.",
    "a list that holds itself": b"(lp0\ng0\na.",
    "no end": b"(lp0\n",
    "nothing": b"",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent object": b"Pname\n.",
    "a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.",
}


@pytest.mark.parametrize("case", FORGED)
def test_refuses_forged_pickles(tmp_path: Path, case: str) -> None:
    with pytest.raises(PickledFileError, match=r"a\.npy: "):
        load_pickled(_write(tmp_path / "a.npy", FORGED[case]))


def test_hand_written_pickles_would_be_read_if_they_were_good(tmp_path: Path) -> None:
    stream = _array(b"f8", b"(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb", b"C\x08" + np.float64(1.5).tobytes())
    pickletools.dis(stream, out=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    assert equal(load_pickled(_write(tmp_path / "a.npy", stream)), np.array([1.5]))


def test_nested_references_do_not_multiply(tmp_path: Path) -> None:
    """Thirty lists, each ten times the one before: small in memory, endless for whoever copies each mention."""
    content: Any = ["x"]
    for _ in range(30):
        content = [content] * 10
    start = time.perf_counter()
    loaded = load_pickled(_write(tmp_path / "a.npy", pickle.dumps(np.array({"a": content}, dtype=object))))
    assert time.perf_counter() - start < 5
    assert isinstance(loaded, dict)
    assert loaded["a"][0] is loaded["a"][9]


@given(st.binary(max_size=200), st.integers(0, 4))
def test_damage_is_named(tmp_path_factory: pytest.TempPathFactory, noise: bytes, protocol: int) -> None:
    stream = pickle.dumps(np.array({"A": np.arange(3.0)}, dtype=object), protocol=protocol)
    cut = len(noise) * len(stream) // 201
    path = _write(tmp_path_factory.mktemp("noise") / "a.npy", stream[:cut] + noise)
    try:
        load_pickled(path)
    except PickledFileError as error:
        assert str(error).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x09\x09 ", b"PK\x03\x04", b"not an array"])
def test_files_of_other_formats(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(PickledFileError, match="not a NumPy file"):
        load_pickled(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PickledFileError, match="cannot be read"):
        load_pickled(tmp_path / "missing.npy")
