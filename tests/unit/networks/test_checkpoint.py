"""Official checkpoints load unchanged; everything else is refused with a message that says what was found."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cellserve_networks.checkpoint import load_checkpoint
from cellserve_networks.errors import CheckpointError
from cellserve_networks.network import CPnet
from onnx import TensorProto, helper

State = dict[str, torch.Tensor]
SaveState = Callable[[State], Path]
CONVOLUTION = "downsample.down.res_down_0.conv.conv_0.2.weight"


@pytest.fixture
def state(network: CPnet) -> State:
    return dict(network.state_dict())


def test_loads_cellpose_3(state: State, save_state: SaveState) -> None:
    state |= {"diam_mean": torch.tensor([17.0]), "diam_labels": torch.tensor([21.5])}
    checkpoint = load_checkpoint(save_state(state))
    loaded = checkpoint.network.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    assert not checkpoint.network.training
    assert (checkpoint.diam_mean, checkpoint.diam_labels) == (17.0, 21.5)


def test_loads_cellpose_1_which_knows_no_diameters(state: State, save_state: SaveState) -> None:
    del state["diam_mean"], state["diam_labels"]
    assert len(state) == 311
    checkpoint = load_checkpoint(save_state(state))
    assert (checkpoint.diam_mean, checkpoint.diam_labels) == (None, None)
    assert torch.equal(checkpoint.network.state_dict()[CONVOLUTION], state[CONVOLUTION])


def test_loads_half_precision_as_float32(state: State, save_state: SaveState) -> None:
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    loaded = load_checkpoint(save_state(half)).network.state_dict()
    assert loaded[CONVOLUTION].dtype == torch.float32
    assert torch.equal(loaded[CONVOLUTION], half[CONVOLUTION].float())


def test_loads_a_file_saved_by_data_parallel(state: State, save_state: SaveState) -> None:
    loaded = load_checkpoint(save_state({f"module.{name}": tensor for name, tensor in state.items()}))
    assert torch.equal(loaded.network.state_dict()[CONVOLUTION], state[CONVOLUTION])


def test_diameters_left_at_their_start_are_not_measurements(state: State, save_state: SaveState) -> None:
    checkpoint = load_checkpoint(save_state(state))
    assert (checkpoint.diam_mean, checkpoint.diam_labels) == (30.0, None)


def _without(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if name != CONVOLUTION}


def _zeros(**shapes: tuple[int, ...]) -> Callable[[State], State]:
    """Other tensors under these names, `__` for a dot."""
    return lambda state: state | {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}


INPUT = CONVOLUTION.replace(".", "__")
SERVED = "only CPnets of two input channels and three outputs can be used"
REFUSED: dict[str, tuple[Callable[[State], State], str]] = {
    "Cellpose-SAM": (
        lambda _: {f"encoder.blocks.{i}.weight": torch.zeros(1) for i in range(9)},
        rf"Cellpose-SAM .*found encoder\.\* \(9\); {SERVED}.*cellserve-train train",
    ),
    "SegFormer": (
        lambda _: {"net.encoder.patch_embed1.weight": torch.zeros(1), "diam_mean": torch.ones(1)},
        f"SegFormer .*{SERVED}",
    ),
    "SAM": (lambda _: {"image_encoder.pos_embed": torch.zeros(1)}, f"Segment Anything .*{SERVED}"),
    "another network": (lambda _: {"conv1.weight": torch.zeros(1)}, f"another network: found conv1; {SERVED}"),
    "missing tensor": (_without, f"missing {CONVOLUTION}; unknown nothing"),
    "unknown tensor": (lambda state: state | {"output.7.weight": torch.zeros(1)}, r"unknown output\.7\.weight"),
    "Omnipose": (
        _zeros(output__2__weight=(4, 32, 1, 1), output__2__bias=(4,)),
        f"an Omnipose network: a CPnet of 4 outputs, .*{SERVED}",
    ),
    "Omnipose of one channel": (_zeros(**{INPUT: (32, 1, 3, 3)}), "one input channel, of Omnipose or of Cellpose"),
    "colour": (_zeros(**{INPUT: (32, 3, 3, 3)}), r"3 input channels \(Cellpose's --all_channels\); .*--chan, --chan2"),
    "restoration": (
        _zeros(**{INPUT: (32, 1, 3, 3)}, output__2__weight=(1, 32, 1, 1)),
        "restores images .denoise, deblur, upsample.: it finds no cells",
    ),
    "volumes": (_zeros(**{INPUT: (32, 2, 3, 3, 3)}), "a CPnet of volumes"),
    "two outputs": (_zeros(output__2__weight=(2, 32, 1, 1)), "a CPnet of 2 outputs"),
    "another width": (_zeros(output__2__weight=(3, 64, 1, 1)), r"another size: output\.2\.weight is \(3, 64, 1, 1\)"),
    "not a number": (lambda state: state | {CONVOLUTION: torch.full((32, 2, 3, 3), torch.nan)}, "NaN or infinite"),
    "empty": (lambda _: {}, "holds nothing, expected a state dict"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_networks_are_named(kind: str, state: State, save_state: SaveState) -> None:
    change, message = REFUSED[kind]
    path = save_state(change(state))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")


def _array(path: Path) -> None:
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.with_suffix(".npy").rename(path)


def _archive(name: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, "content")

    return write


def _safetensors(path: Path) -> None:
    header = b'{"output.2.bias":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(12))


def _onnx(path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "graph", values[:1], values[1:])
    path.write_bytes(helper.make_model(graph).SerializeToString())


WHOLE = (
    r"a whole pickled object \(torch.nn.modules.conv.Conv2d\), .*weights_only=False\).state_dict\(\), 'network.pt'\)"
)
FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "it is empty"),
    "text": (lambda path: path.write_text("not a checkpoint"), f"not a torch file; {SERVED}"),
    "web page": (lambda path: path.write_text("<!DOCTYPE html><p>Not found"), "a web page: the download failed"),
    "Git LFS": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"), "git lfs pull"),
    "cut off": (lambda path: path.write_bytes(b"PK\x03\x04 truncated"), "damaged: its end is missing"),
    "Keras": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64)), "HDF5 file, as Keras and StarDist"),
    "NumPy": (_array, "a NumPy file, .* --size-model"),
    "safetensors": (_safetensors, r"a safetensors file: torch.save\(safetensors"),
    "ONNX": (_onnx, "an ONNX file: .*cellserve-export unpack NAME"),
    "module": (lambda path: torch.save(torch.nn.Conv2d(1, 1, 1), path), WHOLE),
    "old module": (
        lambda path: torch.save(torch.nn.Conv2d(1, 1, 1), path, _use_new_zipfile_serialization=False),
        WHOLE,
    ),
    "new pickle": (lambda path: torch.save(torch.nn.Conv2d(1, 1, 1), path, pickle_protocol=4), WHOLE),
    "TorchScript": (lambda path: torch.jit.save(torch.jit.script(torch.nn.ReLU()), path), "a TorchScript file"),
    "BioImage": (_archive("rdf.yaml"), "BioImage Model Zoo: unpack it"),
    "archive": (_archive("readme.txt"), "a ZIP archive of readme.txt"),
    "objects": (lambda path: torch.save({"state_dict": {}, "path": path}, path), "it holds other objects"),
    "list": (lambda path: torch.save([torch.zeros(1)], path), "holds a list, expected a state dict"),
    "tensor": (lambda path: torch.save(torch.zeros(1), path), "holds a Tensor, expected a state dict"),
    "optimizer": (lambda path: torch.save({"optimizer": {}, "step": 1}, path), "holds optimizer, step, expected"),
    "state": (
        lambda path: torch.save({"settings": {}, "averaged": {}, "optimizer": {}}, path),
        "network.pt in the same folder once",
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # torch about TorchScript
@pytest.mark.parametrize("kind", FILES)
def test_other_files_are_named(kind: str, tmp_path: Path) -> None:
    write, message = FILES[kind]
    write(path := tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_refuses_a_truncated_checkpoint(state: State, save_state: SaveState) -> None:
    path = save_state(state)
    path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(CheckpointError, match="damaged: its end is missing"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("key", "prefix"), [("state_dict", ""), ("model_state_dict", "module."), ("state_dict", "net.")]
)
def test_loads_the_state_dict_inside_the_state_of_a_training(
    save_state: SaveState, state: State, key: str, prefix: str
) -> None:
    inside = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    path = save_state({key: inside, "epoch": 3, "optimizer": {"lr": 0.1}})  # type: ignore[dict-item]
    assert torch.equal(load_checkpoint(path).network.state_dict()[CONVOLUTION], state[CONVOLUTION])


@pytest.mark.parametrize("name", ["missing.pt", "."])
def test_refuses_what_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / name)


class _Payload:
    """Makes a directory when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_executes_nothing(tmp_path: Path) -> None:
    torch.save({"output.2.bias": _Payload(tmp_path / "executed")}, tmp_path / "payload.pt")
    with pytest.raises(CheckpointError, match="not a torch file of plain tensors: it holds other objects"):
        load_checkpoint(tmp_path / "payload.pt")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(("variance", "channels"), [(0.5, ("cytoplasm", "nucleus")), (1e-9, ("cytoplasm",))])
def test_a_channel_that_was_always_zero_is_known(
    save_state: SaveState, network: CPnet, variance: float, channels: tuple[str, ...]
) -> None:
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state["downsample.down.res_down_0.conv.conv_0.0.running_var"][1] = variance
    assert load_checkpoint(save_state(state)).channels == channels
