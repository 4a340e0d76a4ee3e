"""Triton Python-based backend `onnxruntime`: OpenVINO runs the `model.onnx` of every model that names this backend.

NVIDIA's server wheel has no ONNX Runtime backend. With this file at `<backend directory>/onnxruntime/model.py` one
model repository serves unchanged both there and, with `configs/gpu.pbtxt`, under the C++ backend of NVIDIA's container.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]
from numpy.typing import NDArray

# A batch runs as blocks of these sizes, each compiled for its static shape: 17-20 % faster than a dynamic batch axis
# (31 % for a single tile), without padding, and four tiles stay nearer to the caches than eight. Tiles of other sizes
# than the graph's, where config.pbtxt leaves the size open (-1), run one by one: see `_any_size`.
BLOCK_SIZES = (4, 1)

PRECISIONS = ("auto", "bf16", "f32")

STATEMENT = "provenance"
"""Output that config.pbtxt declares beside those of the graph. Each row is JSON: what computed the row."""


class TritonPythonModel:
    """One instance of a model. Triton calls `initialize` once, then `execute` for one batch after the other."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compiles the graph.

        Raises TritonModelException, which fails the load, for a missing, broken or altered file, inputs or outputs that
        differ from the configuration, and accelerator settings that are unknown or beyond this processor.
        """
        end_when_continued()
        config = json.loads(args["model_config"])
        try:
            self._states = take_statement(config)
            path = Path(pb_utils.get_model_dir()) / (config["default_model_filename"] or "model.onnx")
            check_numpy()
            core = ov.Core()
            properties = compile_properties(config, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
            network, sha256 = read_network(core, path, config["parameters"].get("sha256", {}).get("string_value"))
            check_signature(network, config)
            self._blocks: dict[int, ov.InferRequest] = {}
            for size in BLOCK_SIZES:
                if size <= config["max_batch_size"]:
                    network.reshape({port.get_any_name(): [size, *dims(port)] for port in network.inputs})
                    check_shapes(network, config, size)
                    self._blocks[size] = core.compile_model(network, "CPU", properties).create_infer_request()
            self._statement = statement(self._blocks[1].get_compiled_model(), sha256)
        except LoadError as error:
            raise pb_utils.TritonModelException(f"{config['name']}: {error}") from None
        self._inputs = buffers(network.inputs, config["max_batch_size"])
        self._outputs = buffers(network.outputs, config["max_batch_size"])
        self._compile = lambda: core.compile_model(network, "CPU", properties).create_infer_request()
        self._network = network
        self._other: ov.InferRequest | None = None
        self._one_tile = {tensor["name"]: ov.PartialShape([1, *configured_dims(tensor)]) for tensor in config["input"]}
        pb_utils.Logger.log_info(f"{config['name']}: OpenVINO {ov.__version__}, {properties}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers the requests of one dynamic batch.

        Triton has checked names, types, shapes and the total batch size against the configuration, and `initialize`
        the configuration against the graph, so nothing is left here that one request could break for the others.
        """
        gone = [request.is_cancelled() for request in requests]
        answers = iter(self._infer([request for request, left in zip(requests, gone, strict=True) if not left]))
        return [cancelled() if left else next(answers) for left in gone]

    def _infer(self, requests: list[Any]) -> list[Any]:
        """Runs the requests as one batch; the responses' tensors are views of the result buffers.

        The buffers serve the next batch too: Triton copies the responses before it calls `execute` again.
        """
        if not requests:
            return []
        shapes = {name: tensors(requests, name)[0].shape[1:] for name in self._inputs}
        if any(shape != self._inputs[name].shape[1:] for name, shape in shapes.items()):
            return [self._infer_other(request, shapes) for request in requests]  # Triton batches equal shapes only
        inputs = {name: joined(requests, name, buffer) for name, buffer in self._inputs.items()}
        stops = np.cumsum([len(tensor) for tensor in tensors(requests, next(iter(inputs)))])
        for start, stop, block in self._cover(int(stops[-1])):
            for name, array in inputs.items():
                block.set_tensor(name, ov.Tensor(array[start:stop], shared_memory=True))
            for name, array in self._outputs.items():
                block.set_tensor(name, ov.Tensor(array[start:stop], shared_memory=True))
            block.infer()
        starts = [0, *stops[:-1]]
        return [
            pb_utils.InferenceResponse(
                [
                    *(pb_utils.Tensor(name, array[start:stop]) for name, array in self._outputs.items()),
                    *self._stated(stop - start),
                ]
            )
            for start, stop in zip(starts, stops, strict=True)
        ]

    def _infer_other(self, request: Any, shapes: dict[str, tuple[int, ...]]) -> Any:
        """Answers a request whose tiles have another size than those of the graph."""
        try:
            outputs = self._run_other(request, shapes)
        except RuntimeError as error:
            self._other = None  # after a failure it may fail on any size
            return pb_utils.InferenceResponse(
                error=pb_utils.TritonError(
                    f"the network cannot run on tiles of {shapes}: {first_line(error)}",
                    pb_utils.TritonError.INVALID_ARG,
                )
            )
        rows = len(next(iter(outputs.values())))
        return pb_utils.InferenceResponse(
            [*(pb_utils.Tensor(name, array) for name, array in outputs.items()), *self._stated(rows)]
        )

    def _run_other(self, request: Any, shapes: dict[str, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
        """Returns the outputs for a request, row by row; raises RuntimeError if the network takes no such tiles."""
        block = self._any_size()
        arrays = {name: tensors([request], name)[0] for name in shapes}
        rows: dict[str, list[NDArray[Any]]] = {name: [] for name in self._outputs}
        for row in range(len(next(iter(arrays.values())))):
            for name, array in arrays.items():
                block.set_tensor(name, ov.Tensor(np.ascontiguousarray(array[row : row + 1]), shared_memory=False))
            block.infer()
            for name, found in rows.items():
                found.append(block.get_tensor(name).data.copy())
        return {name: np.concatenate(found) for name, found in rows.items()}

    def _any_size(self) -> ov.InferRequest:
        """Returns the network compiled for one tile of any size that the configuration allows.

        The first time takes about a second, in which no tile runs. If the network were compiled for each size, a caller
        with images of many sizes would stop all others again and again. In f32 the results have the same bits.
        """
        if self._other is None:
            self._network.reshape(self._one_tile)
            self._other = self._compile()
        return self._other

    def _stated(self, rows: int) -> list[Any]:
        """Returns the output `provenance` of some rows, if the configuration declares it."""
        return [pb_utils.Tensor(STATEMENT, np.full((rows, 1), self._statement, object))] if self._states else []

    def _cover(self, total: int) -> Iterator[tuple[int, int, ov.InferRequest]]:
        """Splits `total` rows into blocks, large ones first; yields (start, stop, compiled block)."""
        start = 0
        for size, block in self._blocks.items():
            while total - start >= size:
                yield start, start + size, block
                start += size


class LoadError(Exception):
    """The model cannot be served; the message is for the operator."""


def check_numpy() -> None:
    """Refuses NumPy 2: Triton 2.51 assumes the memory layout of NumPy 1 and would answer with empty arrays."""
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        raise LoadError(f"NumPy is {np.__version__}; Triton's Python backend needs NumPy 1 (numpy<2)")


def compile_properties(config: dict[str, Any], capabilities: list[str]) -> dict[str, Any]:
    """OpenVINO's properties for the `openvino` CPU accelerator of a model configuration (plain f32 without one).

    `precision`: `auto` (default) takes bf16 where the processor multiplies it natively, else f32; `bf16` insists.
    `num_of_threads`: 0 (default) takes OMP_NUM_THREADS, which a container that may use a share of the machine sets, or
    else every core.
    """
    accelerators = config["optimization"].get("execution_accelerators", {}).get("cpu_execution_accelerator", [])
    for accelerator in accelerators:
        if accelerator["name"] != "openvino":
            raise LoadError(f"cpu_execution_accelerator '{accelerator['name']}' is unknown; allowed: openvino")
    settings = {"precision": "auto", "num_of_threads": "0"} if accelerators else {"precision": "f32"}
    for accelerator in accelerators:
        given = accelerator.get("parameters", {})
        if unknown := given.keys() - settings.keys():
            raise LoadError(f"openvino parameter {sorted(unknown)} is unknown; allowed: {sorted(settings)}")
        settings |= given

    precision, threads = settings["precision"], settings.get("num_of_threads", "0")
    if threads == "0":
        threads = os.environ.get("OMP_NUM_THREADS", "0")
    if precision not in PRECISIONS:
        raise LoadError(f"openvino precision is '{precision}'; allowed: {', '.join(PRECISIONS)}")
    if not threads.isdecimal():
        raise LoadError(f"openvino num_of_threads or OMP_NUM_THREADS is '{threads}'; allowed: 0 (every core) or more")
    if precision == "auto":
        precision = "bf16" if "BF16" in capabilities else "f32"
    elif precision == "bf16" and "BF16" not in capabilities:
        raise LoadError("openvino precision is 'bf16', which this processor lacks; use 'auto' or 'f32'")
    return {
        "PERFORMANCE_HINT": "LATENCY",  # one stream over all threads: batches come one at a time
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": int(threads),
        # Pinned threads cannot get out of the way of other processes, or of another model's threads, on their core.
        "ENABLE_CPU_PINNING": False,
    }


def read_network(core: ov.Core, path: Path, sha256: str | None) -> tuple[ov.Model, str]:
    """Reads the ONNX file, after comparing its SHA-256 (hexadecimal) if the configuration gives one; returns both."""
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}") from None
    if sha256 is not None and actual != sha256.lower():
        raise LoadError(f"{path} has sha256 {actual}, but config.pbtxt demands {sha256}")
    try:
        return core.read_model(path), actual
    except RuntimeError as error:
        raise LoadError(f"{path} is not an ONNX file that OpenVINO can read: {first_line(error)}") from None


def end_when_continued() -> None:
    """Ends this process if it goes on after it was stopped (SIGCONT after SIGSTOP).

    Triton gives up a process that stands still for more than a second, and uses its shared memory again. Whatever the
    process writes afterwards can become part of the answers to other requests. The launcher starts Triton anew.
    """
    library = ctypes.CDLL(None)
    library.signal(signal.SIGCONT, ctypes.cast(library._exit, ctypes.c_void_p))  # runs before any other code


def take_statement(config: dict[str, Any]) -> bool:
    """Takes the output `provenance`, which no graph has, out of a configuration; returns whether it was declared."""
    declared = [tensor for tensor in config["output"] if tensor["name"] == STATEMENT]
    config["output"] = [tensor for tensor in config["output"] if tensor["name"] != STATEMENT]
    for tensor in declared:
        if (tensor["data_type"], configured_dims(tensor)) != ("TYPE_STRING", [1]):
            raise LoadError(f"output '{STATEMENT}' must be TYPE_STRING of dims [ 1 ] in config.pbtxt")
    return bool(declared)


def statement(compiled: ov.CompiledModel, sha256: str) -> bytes:
    """Returns JSON of the runtime, the precision that OpenVINO computes in, and the SHA-256 of the ONNX file."""
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    runtime = f"openvino {ov.__version__.split('-')[0]}"
    return json.dumps({"runtime": runtime, "precision": precision, "sha256": sha256}).encode()


def check_signature(network: ov.Model, config: dict[str, Any]) -> None:
    """Compares names and element types of inputs and outputs, and the ranks of inputs, with the configuration."""
    if config["max_batch_size"] < 1:
        raise LoadError(f"max_batch_size is {config['max_batch_size']}; allowed: 1 or more")
    for kind, ports in (("input", network.inputs), ("output", network.outputs)):
        configured = {tensor["name"]: tensor for tensor in config[kind]}
        present = {port.get_any_name(): port for port in ports}
        if configured.keys() != present.keys():
            raise LoadError(f"the graph's {kind}s are {sorted(present)}, but config.pbtxt names {sorted(configured)}")
        for name, port in present.items():
            expected = np.dtype(pb_utils.triton_string_to_numpy(configured[name]["data_type"]))
            if port.get_element_type().to_dtype() != expected:
                raise LoadError(
                    f"{kind} '{name}' is {port.get_element_type()} in the graph, {expected} in config.pbtxt"
                )
            shape = ov.PartialShape([-1, *configured_dims(configured[name])])
            if not port.get_partial_shape().compatible(shape):
                raise LoadError(f"{kind} '{name}' is {port.get_partial_shape()} in the graph, {shape} in config.pbtxt")


def check_shapes(network: ov.Model, config: dict[str, Any], size: int) -> None:
    """Compares the outputs' shapes that follow from the inputs' with the configuration."""
    for tensor in config["output"]:
        actual = network.output(tensor["name"]).get_partial_shape()
        expected = ov.PartialShape([size, *configured_dims(tensor)])
        if not actual.compatible(expected):
            raise LoadError(f"output '{tensor['name']}' is {actual} in the graph, {expected} in config.pbtxt")


def configured_dims(tensor: dict[str, Any]) -> list[int]:
    """Dimensions of a configured tensor without the batch axis; -1 leaves one open."""
    return [int(size) for size in tensor["dims"]]


def dims(port: Any) -> list[int]:
    """Dimensions of an input or output of the graph without the batch axis; they must be fixed."""
    shape = port.get_partial_shape()
    if any(axis.is_dynamic for axis in list(shape)[1:]):
        raise LoadError(f"'{port.get_any_name()}' is {shape} in the graph; allowed: fixed sizes behind the batch axis")
    return [axis.get_length() for axis in list(shape)[1:]]


def buffers(ports: list[Any], rows: int) -> dict[str, NDArray[Any]]:
    """One array [rows, *dims] for each input or output of the graph."""
    return {port.get_any_name(): np.empty([rows, *dims(port)], port.get_element_type().to_dtype()) for port in ports}


def tensors(requests: list[Any], name: str) -> list[NDArray[Any]]:
    """The arrays of one input: views of the memory that Triton shares with this process."""
    return [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for request in requests]


def joined(requests: list[Any], name: str, buffer: NDArray[Any]) -> NDArray[Any]:
    """The rows of all requests: a lone request's memory itself, several ones copied into `buffer`."""
    arrays = tensors(requests, name)
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, out=buffer[: sum(map(len, arrays))])


def cancelled() -> Any:
    """The answer to a request whose caller has gone."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError("cancelled", pb_utils.TritonError.CANCELLED))


def first_line(error: Exception) -> str:
    """The line of an OpenVINO error that says what is wrong; the lines before name OpenVINO's own source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith(("Exception from", "Check '"))), lines[0])
