"""The Python-based backend in the real server, against ONNX Runtime on the same file."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc as client
from tritonclient.utils import InferenceServerException

from .models import graph

ROOT = Path(__file__).resolve().parents[3]


def infer(server: client.InferenceServerClient, model: str, tiles: np.ndarray) -> client.InferResult:
    image = client.InferInput("image", list(tiles.shape), "FP64" if tiles.dtype == np.float64 else "FP32")
    image.set_data_from_numpy(tiles)
    return server.infer(model, [image])


def executed(server: client.InferenceServerClient, model: str) -> Counter[int]:
    """Number of executions by batch size since the start."""
    statistics = server.get_inference_statistics(model).model_stats[0]
    return Counter({entry.batch_size: entry.compute_infer.count for entry in statistics.batch_stats})


def relative_rms(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.mean((actual - expected) ** 2) / np.mean(expected**2)))


@pytest.fixture(scope="module")
def server(convolutions) -> Iterator[client.InferenceServerClient]:
    with client.InferenceServerClient(convolutions) as server:
        yield server


@pytest.fixture(scope="module")
def reference() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph())


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.mark.parametrize("rows", range(1, 9))
def test_f32_equals_onnx_runtime_for_every_batch_size(server, reference, random, rows):
    tiles = random.standard_normal((rows, 2, 16, 16), np.float32)
    flows = infer(server, "exact", tiles).as_numpy("flows")
    assert flows.dtype == np.float32
    np.testing.assert_allclose(flows, reference.run(None, {"image": tiles})[0], rtol=0, atol=1e-4)


def test_f32_is_the_same_alone_and_in_a_full_batch(server, random):
    tiles = random.standard_normal((8, 2, 16, 16), np.float32)
    together = infer(server, "exact", tiles).as_numpy("flows")
    for alone, row in zip(np.split(tiles, 8), together, strict=True):
        np.testing.assert_array_equal(infer(server, "exact", alone).as_numpy("flows")[0], row)


@pytest.mark.parametrize("model", ["exact", "auto"])
def test_every_row_states_what_computed_it(server, random, model):
    tiles = random.standard_normal((3, 2, 16, 16), np.float32)
    rows = infer(server, model, tiles).as_numpy("provenance")
    assert rows.shape == (3, 1)
    (statement,) = {*rows.flat}
    facts = json.loads(statement)
    flags = Path("/proc/cpuinfo").read_text().split()
    has_bf16 = "avx512_bf16" in flags or "amx_bf16" in flags
    assert facts["precision"] == ("bf16" if model == "auto" and has_bf16 else "f32")
    assert re.fullmatch(r"openvino \d+\.\d+\.\d+", facts["runtime"])
    assert facts["sha256"] == hashlib.sha256(graph()).hexdigest()


def test_auto_precision_is_near(server, reference, random):
    tiles = random.standard_normal((8, 2, 16, 16), np.float32)
    assert (
        relative_rms(infer(server, "auto", tiles).as_numpy("flows"), reference.run(None, {"image": tiles})[0]) < 0.015
    )


def test_every_caller_gets_its_own_rows(server, reference, random):
    """Requests of all sizes share batches and result buffers; nobody may see another's tiles."""
    before = executed(server, "exact")
    requests = [random.standard_normal((rows, 2, 16, 16), np.float32) for rows in random.integers(1, 9, 200)]
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda tiles: infer(server, "exact", tiles).as_numpy("flows"), requests))
    for tiles, flows in zip(requests, results, strict=True):
        np.testing.assert_allclose(flows, reference.run(None, {"image": tiles})[0], rtol=0, atol=1e-4)
    assert (executed(server, "exact") - before).total() < len(requests)


def test_single_tiles_fill_batches(server, random):
    before = executed(server, "exact")
    tile = random.standard_normal((1, 2, 16, 16), np.float32)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: infer(server, "exact", tile), range(128)))
    sizes = executed(server, "exact") - before
    assert sum(size * count for size, count in sizes.items()) == 128
    assert 128 / sizes.total() >= 4


def test_bad_requests_do_not_disturb_the_others(server, reference, random):
    """Malformed requests are refused before they meet a batch; NaN inside one stays in its own rows."""
    good = random.standard_normal((1, 2, 16, 16), np.float32)
    poisoned = np.full_like(good, np.nan)
    malformed = [good[:, :1], good[:, :, :15], good.astype(np.float64), good[:0], np.repeat(good, 9, axis=0)]
    with ThreadPoolExecutor(16) as pool:
        answers: list[list[Future]] = [
            [pool.submit(infer, server, "exact", tiles) for tiles in (good, poisoned, wrong, good)]
            for wrong in malformed
        ]
        for first, nan, refused, last in answers:
            for answer in (first, last):
                np.testing.assert_allclose(
                    answer.result().as_numpy("flows"), reference.run(None, {"image": good})[0], rtol=0, atol=1e-4
                )
            assert np.isnan(nan.result().as_numpy("flows")).all()
            with pytest.raises(InferenceServerException) as error:
                refused.result()
            assert error.value.status() == str(grpc.StatusCode.INVALID_ARGUMENT)


def test_tiles_of_other_sizes_are_taken_where_the_configuration_leaves_the_size_open(server, random):
    sizes = [(16, 16), (8, 24), (24, 8), (16, 16), *((8, 8 * side) for side in range(1, 9)), (8, 24)]
    for rows, (height, width) in enumerate(sizes):
        tiles = random.standard_normal((rows % 3 + 1, 2, height, width), np.float32)
        expected = onnxruntime.InferenceSession(graph(height, width)).run(None, {"image": tiles})[0]
        answer = infer(server, "any_size", tiles)
        np.testing.assert_allclose(answer.as_numpy("flows"), expected, rtol=0, atol=1e-4)
        assert len(answer.as_numpy("provenance")) == len(tiles)


def test_new_sizes_of_tiles_are_not_compiled(generalist_triton, random):
    """Compiling takes many times as long as computing, and no tile of any caller runs meanwhile."""
    with client.InferenceServerClient(generalist_triton.grpc) as server:

        def seconds(sizes):
            start = time.perf_counter()
            for height, width in sizes:
                infer(server, "generalist_single", random.standard_normal((1, 2, height, width), np.float32))
            return time.perf_counter() - start

        seconds([(32, 40)])  # compiles the network for any size
        sizes = [(height, width) for height in (32, 40, 48, 56) for width in (48, 56, 64, 72)]
        assert seconds(sizes) < 5 * seconds([sizes[-1]] * len(sizes)) + 0.5


def test_a_size_that_the_network_cannot_take_is_refused(generalist_triton, random):
    tiles = random.standard_normal((1, 2, 80, 96), np.float32)
    with client.InferenceServerClient(generalist_triton.grpc) as server:
        before = infer(server, "generalist_single", tiles).as_numpy("flows")
        with pytest.raises(InferenceServerException, match="cannot run on tiles"):
            infer(server, "generalist_single", tiles[:, :, :, :90])
        np.testing.assert_array_equal(infer(server, "generalist_single", tiles).as_numpy("flows"), before)


def test_generalist_is_near_onnx_runtime(generalist_triton, random):
    tiles = random.standard_normal((2, 2, 224, 224), np.float32)
    session = onnxruntime.InferenceSession(ROOT / "model_repository" / "generalist" / "1" / "model.onnx")
    flows, style = session.run(["flows", "style"], {"image": tiles})
    with client.InferenceServerClient(generalist_triton.grpc) as server:
        answer = infer(server, "generalist", tiles)
    assert relative_rms(answer.as_numpy("flows"), flows) < 0.015
    assert relative_rms(answer.as_numpy("style"), style) < 0.015
