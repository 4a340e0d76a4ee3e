"""Graphs compute what torch computes, hold what the checkpoint holds, and are the same bytes each time."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from cellserve_export.errors import ExportError
from cellserve_export.graph import IR_VERSION, OPSET, ensemble_graph, stored, style_graph
from cellserve_networks.network import CPnet, Ensemble
from numpy.typing import NDArray
from onnx import numpy_helper

Tiles = NDArray[np.float32]


def _run(model: onnx.ModelProto, tiles: Tiles) -> dict[str, Tiles]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": tiles}), strict=True))


def test_fused_graph_is_the_mean_of_single_graphs(networks: list[CPnet], tiles: Tiles) -> None:
    fused = _run(ensemble_graph(networks, "fp16"), tiles)
    first, second = (_run(ensemble_graph([network], "fp16"), tiles) for network in networks)
    np.testing.assert_allclose(fused["flows"], (first["flows"] + second["flows"]) / 2, atol=1e-5)
    np.testing.assert_allclose(fused["style"], first["style"], atol=1e-6)
    assert np.abs(first["flows"] - second["flows"]).max() > 0.1


def test_fused_graph_agrees_with_torch(networks: list[CPnet], tiles: Tiles) -> None:
    with torch.inference_mode():
        maps, style = Ensemble(networks)(torch.from_numpy(tiles))
    outputs = _run(ensemble_graph(networks, "fp32"), tiles)
    np.testing.assert_allclose(outputs["flows"], maps.numpy(), atol=1e-4, rtol=0)
    np.testing.assert_allclose(outputs["style"], style.numpy(), atol=1e-6, rtol=0)
    assert np.abs(outputs["flows"]).max() > 0.5


def test_style_graph_gives_the_style_of_the_single_graph(network: CPnet, tiles: Tiles) -> None:
    outputs = _run(style_graph(network, "fp16"), tiles)
    assert outputs.keys() == {"style"}
    np.testing.assert_allclose(outputs["style"], _run(ensemble_graph([network], "fp16"), tiles)["style"], atol=1e-6)


def test_half_precision_rounds_weights_and_nothing_else(network: CPnet, tiles: Tiles) -> None:
    half, full = ensemble_graph([network], "fp16"), ensemble_graph([network], "fp32")
    assert half.ByteSize() < 0.52 * full.ByteSize()
    tile = tiles[:1]
    exact = _run(full, tile)["flows"]
    rounding = np.abs(_run(half, tile)["flows"] - exact).max()
    assert 0 < rounding < 0.01 * np.abs(exact).max()
    rounded = copy.deepcopy(network)
    for parameter in rounded.parameters():
        parameter.data = stored(parameter.data, "fp16").float()
    with torch.inference_mode():
        expected, _ = rounded(torch.from_numpy(tile))
    np.testing.assert_allclose(_run(half, tile)["flows"], expected.numpy(), atol=1e-4, rtol=0)


def test_weights_keep_the_names_and_values_of_the_checkpoint(networks: list[CPnet]) -> None:
    graph = ensemble_graph(networks, "fp32").graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for index, network in enumerate(networks):
        for name, tensor in network.state_dict().items():
            if not name.startswith("diam") and not name.endswith("num_batches_tracked"):
                np.testing.assert_array_equal(weights.pop(f"network_{index}.{name}"), tensor.numpy())
    assert weights.keys() == {"axes_yx", "scales_bcyx"}


def test_graphs_are_the_same_bytes_each_time_and_say_nothing_of_this_machine(network: CPnet) -> None:
    model = ensemble_graph([network], "fp16")
    again = ensemble_graph([copy.deepcopy(network)], "fp16")
    assert model.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)
    assert not model.doc_string
    assert not model.metadata_props
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)


def test_interface_is_that_of_the_model_configuration(network: CPnet) -> None:
    model = ensemble_graph([network], "fp16")

    def shapes(values: list[onnx.ValueInfoProto]) -> dict[str, list[str | int]]:
        return {
            value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
            for value in values
        }

    assert shapes(list(model.graph.input)) == {"image": ["batch", 2, 224, 224]}
    assert shapes(list(model.graph.output)) == {"flows": ["batch", 3, 224, 224], "style": ["batch", 256]}
    assert (model.ir_version, [opset.version for opset in model.opset_import]) == (IR_VERSION, [OPSET])


def test_refuses_weights_beyond_half_precision(network: CPnet) -> None:
    large = copy.deepcopy(network)
    large.output[2].weight.data[0, 0] = 1e6
    with pytest.raises(ExportError, match=r"output\.2\.weight leaves the range of half precision"):
        ensemble_graph([large], "fp16")
    ensemble_graph([large], "fp32")
