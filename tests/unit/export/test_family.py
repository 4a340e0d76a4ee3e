"""A family is complete, Triton can read it, and a failed export leaves the repository as it was."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from cellserve_export import family as family_module
from cellserve_export.errors import FamilyError, ParityError
from cellserve_export.family import Family, write_family
from cellserve_export.graph import style_graph
from cellserve_networks.checkpoint import Checkpoint
from google.protobuf import text_format
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2

Tiles = NDArray[np.float32]
MODELS = ("cells", "cells_single", "cells_style")
ABOUT = Family("cells", "Cells of a test.", "CC0-1.0", "Random numbers.")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, checkpoints: list[Checkpoint], tiles: Tiles) -> Path:
    path = tmp_path_factory.mktemp("export") / "repository"
    report = write_family(path, ABOUT, checkpoints, "fp16", {"blobs": tiles[:1]})
    assert [entry.model for entry in report] == ["cells", "cells", "cells_single", "cells_single", "cells_style"]
    return path


def _config(path: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def test_family_holds_what_triton_and_the_gateway_read(repository: Path) -> None:
    files = {"config.pbtxt", "configs/gpu.pbtxt", "1/model.onnx"}
    expected = {f"{model}/{file}" for model in MODELS for file in files} | {"cells/model.json"}
    assert {str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file()} == expected


def test_description_and_configurations_name_the_networks_by_checksum(repository: Path) -> None:
    description = json.loads((repository / "cells" / "model.json").read_text())
    for model in MODELS:
        sha256 = hashlib.sha256((repository / model / "1" / "model.onnx").read_bytes()).hexdigest()
        assert description["networks"][model] == {"sha256": sha256, "weights": "fp16"}
        for config in ("config.pbtxt", "configs/gpu.pbtxt"):
            assert _config(repository / model / config).parameters["sha256"].string_value == sha256
    assert description["sources"] == [f"{index:064x}" for index in range(2)]
    assert description["exporter"].keys() == {"cellserve", "onnx", "onnxruntime", "torch"}
    about = {key: description[key] for key in ("family", "description", "license", "provenance")}
    assert about == {
        "family": "cells",
        "description": "Cells of a test.",
        "license": "CC0-1.0",
        "provenance": "Random numbers.",
    }
    figures = {key: description[key] for key in ("diam_mean", "diam_labels", "tile_size", "size_model", "channels")}
    assert figures == {
        "diam_mean": 30.0,
        "diam_labels": 22.5,
        "tile_size": 224,
        "size_model": None,
        "channels": ["cytoplasm", "nucleus"],
    }


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("file", ["config.pbtxt", "configs/gpu.pbtxt"])
def test_configuration_declares_the_interface_of_the_graph(repository: Path, model: str, file: str) -> None:
    config = _config(repository / model / file)
    graph = onnx.load(repository / model / "1" / "model.onnx").graph
    assert (config.name, config.backend) == (model, "onnxruntime")
    computed = [tensor for tensor in config.output if tensor.name != "provenance"]
    assert [tensor.name for tensor in config.output if tensor not in computed] == ["provenance"] * (
        file == "config.pbtxt"
    )
    any_sides = file == "config.pbtxt"
    for declared, actual in ((config.input, graph.input), (computed, graph.output)):
        shapes = {value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim][1:] for value in actual}
        assert {tensor.name: list(tensor.dims) for tensor in declared} == {
            name: [shape[0], *(-1 if any_sides else side for side in shape[1:])] for name, shape in shapes.items()
        }
        assert all(tensor.data_type == model_config_pb2.TYPE_FP32 for tensor in declared)
    assert (
        max(config.dynamic_batching.preferred_batch_size) == config.max_batch_size == config.model_warmup[0].batch_size
    )
    assert config.dynamic_batching.priority_levels == 2
    queues = [config.dynamic_batching.default_queue_policy, config.dynamic_batching.priority_queue_policy[1]]
    for queue in queues:
        assert queue.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
        assert queue.allow_timeout_override
        assert queue.max_queue_size > 0
        assert queue.default_timeout_microseconds > 0


def test_configurations_use_the_accelerator_of_their_device(repository: Path) -> None:
    cpu, gpu = (_config(repository / "cells" / file) for file in ("config.pbtxt", "configs/gpu.pbtxt"))
    (openvino,) = cpu.optimization.execution_accelerators.cpu_execution_accelerator
    assert (openvino.name, dict(openvino.parameters)) == ("openvino", {"precision": "auto", "num_of_threads": "0"})
    assert cpu.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU
    (tensorrt,) = gpu.optimization.execution_accelerators.gpu_execution_accelerator
    assert (tensorrt.name, tensorrt.parameters["precision_mode"]) == ("tensorrt", "FP16")
    assert tensorrt.parameters["trt_profile_max_shapes"] == f"image:{gpu.max_batch_size}x2x224x224"
    assert gpu.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU


def test_one_checkpoint_makes_a_whole_family(checkpoints: list[Checkpoint], tmp_path: Path) -> None:
    write_family(tmp_path, ABOUT, [replace(checkpoints[0], diam_mean=None)], "fp32", {})
    assert {path.name for path in tmp_path.iterdir()} == set(MODELS)
    fused, single = ((tmp_path / model / "1" / "model.onnx").read_bytes() for model in MODELS[:2])
    assert fused == single
    description = json.loads((tmp_path / "cells" / "model.json").read_text())
    assert description["networks"]["cells"]["weights"] == "fp32"
    assert description["diam_mean"] == 30.0


def _break_the_style(monkeypatch: pytest.MonkeyPatch, checkpoints: list[Checkpoint]) -> None:
    """The last of the three graphs is that of another network."""
    wrong = checkpoints[1].network
    monkeypatch.setattr(family_module, "style_graph", lambda _, precision: style_graph(wrong, precision))


def test_failed_gate_leaves_nothing_behind(
    checkpoints: list[Checkpoint], tiles: Tiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break_the_style(monkeypatch, checkpoints)
    with pytest.raises(ParityError, match="cells_style"):
        write_family(tmp_path, ABOUT, checkpoints[:1], "fp16", {"blobs": tiles[:1]})
    assert not list(tmp_path.iterdir())


def _tree(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_failed_move_restores_the_earlier_family(
    checkpoints: list[Checkpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in (*MODELS, "other"):
        (tmp_path / model / "1").mkdir(parents=True)
        (tmp_path / model / "1" / "model.onnx").write_text(f"earlier {model}")
    before = _tree(tmp_path)
    rename = Path.rename

    def fail_late(self: Path, target: Path) -> Path:
        if self.parent.name == "new" and self.name == "cells_style":
            raise OSError("disk error")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail_late)
        with pytest.raises(OSError, match="disk error"):
            write_family(tmp_path, ABOUT, checkpoints[:1], "fp16", {}, overwrite=True)
    assert _tree(tmp_path) == before

    write_family(tmp_path, ABOUT, checkpoints[:1], "fp16", {}, overwrite=True)
    after = _tree(tmp_path)
    assert after["other/1/model.onnx"] == b"earlier other"
    assert not any(after[f"{model}/1/model.onnx"].startswith(b"earlier") for model in MODELS)


def test_diameter_of_the_family(checkpoints: list[Checkpoint], tmp_path: Path) -> None:
    nuclei = replace(checkpoints[1], diam_mean=17.0)
    with pytest.raises(FamilyError, match=r"differ in diam_mean \(17, 30\)"):
        write_family(tmp_path / "new", ABOUT, [checkpoints[0], nuclei], "fp16", {})
    with pytest.raises(FamilyError, match="no checkpoint"):
        write_family(tmp_path / "new", ABOUT, [], "fp16", {})
    assert not (tmp_path / "new").exists()
    write_family(tmp_path, ABOUT, [replace(checkpoints[0], diam_mean=None), nuclei], "fp16", {})
    assert json.loads((tmp_path / "cells" / "model.json").read_text())["diam_mean"] == 17.0


@pytest.mark.parametrize("name", ["", "Cells", "a/b", "..", "cells_style", "cells_single", "-cells"])
def test_refuses_names(name: str) -> None:
    with pytest.raises(FamilyError, match="family name is"):
        Family(name, "", "", "")


@pytest.mark.parametrize("diameter", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_diameters(diameter: float) -> None:
    with pytest.raises(FamilyError, match="diam_mean is"):
        Family("cells", "", "", "", diameter)
