"""Names files and networks that are no CPnet, and says what would do. Nothing in a file is executed."""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import PurePosixPath

from torch import Tensor

SERVED = (
    "only CPnets of two input channels and three outputs can be used: cyto, cyto2, cyto3 and nuclei of Cellpose 1 to "
    "3, networks trained from them, and those of cellserve-train"
)
RETRAIN = "its results, once corrected, can be the labels of a CPnet: cellserve-train train"

FIRST_WEIGHT = "downsample.down.res_down_0.conv.conv_0.2.weight"
LAST_WEIGHT = "output.2.weight"

_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled number that torch < 1.6 wrote first
_LEGACY_PICKLES = 3  # before the content: that number, a version, facts about the machine
_ONNX_SECOND_FIELDS = b"\x12\x1a\x22\x2a\x32\x3a\x42"  # what can follow the version in an ONNX file
_PLAIN_DICTIONARY = "collections.OrderedDict"


def describe_file(content: bytes) -> str:
    """Says what a file is that `torch.load` of plain tensors does not read, and what to do."""
    start = content[:64].lstrip().lower()
    if not content:
        return "not a torch file: it is empty; copy or download it again"
    if start.startswith((b"<!doctype", b"<html")):
        return "not a torch file but a web page: the download failed; download it again"
    if start.startswith(b"version https://git-lfs"):
        return "not a torch file but a pointer of Git LFS: `git lfs pull` fetches the file"
    if content.startswith(b"\x89HDF"):
        return f"an HDF5 file, as Keras and StarDist write networks, not a torch file; {SERVED}"
    if content.startswith(b"\x93NUMPY"):
        return "a NumPy file, not a network; a size model (size_*.npy) goes to --size-model"
    if content.startswith(b"PK"):
        return _describe_archive(content)
    if content.startswith(_LEGACY_TORCH):
        return _describe_pickle(_content_of_legacy(content))
    if content[8:9] == b"{" and int.from_bytes(content[:8], "little") < len(content):
        return (
            "a safetensors file: torch.save(safetensors.torch.load_file(FILE), 'network.pt') makes a checkpoint of it"
        )
    if content[0] == 8 and content[2:3] in [bytes([field]) for field in _ONNX_SECOND_FIELDS]:
        return (
            "an ONNX file: a checkpoint is needed, of torch tensors; "
            "`cellserve-export unpack NAME` writes those of a family that is in the model repository"
        )
    return f"not a torch file; {SERVED}"


def _describe_archive(content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [PurePosixPath(name) for name in archive.namelist()]
            pickle = next((str(name) for name in names if name.name == "data.pkl" and len(name.parts) == 2), None)
            if any(name.name == "constants.pkl" or "code" in name.parts for name in names):
                return (
                    "a TorchScript file, which is a program: "
                    "torch.save(torch.jit.load(FILE).state_dict(), 'network.pt') makes a checkpoint of it"
                )
            if pickle:
                return _describe_pickle(archive.read(pickle))
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError):
        return "not a torch file, or damaged: its end is missing; copy or download it again"
    if any(name.name in ("rdf.yaml", "bioimageio.yaml") for name in names):
        return "a package of the BioImage Model Zoo: unpack it, and give its file of weights (.pt or .pth)"
    return f"not a torch file but a ZIP archive of {some(map(str, names))}; {SERVED}"


def _describe_pickle(content: bytes) -> str:
    classes = list(islice(_classes(content), 1000))
    if classes and classes[0] != _PLAIN_DICTIONARY:
        name = "".join(filter(str.isprintable, classes[0]))[:80]
        return (
            f"a whole pickled object ({name}), as torch.save(model) writes: reading it would run code of the file. "
            "Where you trust the file and have its program, torch.save(torch.load(FILE, weights_only=False)"
            ".state_dict(), 'network.pt') makes a checkpoint of it"
        )
    return "not a torch file of plain tensors: it holds other objects; save the state dict alone, with torch.save"


def _classes(content: bytes) -> Iterator[str]:
    """Yields the class of what a pickle is, and of what it holds; the first is a dictionary's if it is one."""
    words: list[str] = []
    try:
        for code, argument, _ in pickletools.genops(content):
            if code.name == "EMPTY_DICT":
                yield _PLAIN_DICTIONARY
            elif code.name == "GLOBAL":
                yield str(argument).replace(" ", ".", 1)
            elif code.name == "STACK_GLOBAL":
                yield ".".join(words[-2:])
            elif isinstance(argument, str):
                words.append(argument)
    except ValueError:  # damaged
        return


def _content_of_legacy(content: bytes) -> bytes:
    stream = io.BytesIO(content)
    try:
        for _ in range(_LEGACY_PICKLES):
            for _ in pickletools.genops(stream):
                pass
    except ValueError:
        return b""
    return stream.read()


def describe_network(state: Mapping[str, Tensor]) -> str | None:
    """Says what network a state dict is of, and what would do; None if it looks like a CPnet that can be used.

    Args:
        state: Tensors by name, prefixes of programs taken off.
    """
    roots = Counter(name.split(".")[0] for name in state)
    if "downsample" in roots and FIRST_WEIGHT in state and LAST_WEIGHT in state:
        return _describe_cpnet(state[FIRST_WEIGHT], state[LAST_WEIGHT])
    if roots.keys() <= {"downsample", "upsample", "output", "diam_mean", "diam_labels"}:
        return None  # a CPnet with tensors missing
    kind = "another network"
    if "encoder" in roots:
        kind = "a Cellpose-SAM network (Cellpose 4)"
    elif any(name.startswith("net.encoder.") for name in state):
        kind = "a SegFormer network (the transformer of Cellpose 3)"
    elif roots.keys() & {"image_encoder", "mask_decoder"}:
        kind = "a Segment Anything network (SAM)"
    found = some(f"{root}.* ({count})" if count > 1 else root for root, count in roots.most_common())
    return f"{kind}: found {found}; {SERVED}" + ("" if kind == "another network" else f"; {RETRAIN}")


def _describe_cpnet(first: Tensor, last: Tensor) -> str | None:
    inputs, outputs = first.shape[1], last.shape[0]
    if first.ndim == 5:
        return f"a CPnet of volumes (kernels of three dimensions); {SERVED}"
    if outputs == 4:
        return f"an Omnipose network: a CPnet of 4 outputs, flows, distance and boundary; {SERVED}; {RETRAIN}"
    if outputs == 1:
        return f"a network of Cellpose 3 that restores images (denoise, deblur, upsample): it finds no cells; {SERVED}"
    if outputs != 3:
        return f"a CPnet of {outputs} outputs, where two flows and a cell probability are expected; {SERVED}"
    if inputs == 1:
        return (
            f"a CPnet of one input channel, of Omnipose or of Cellpose with nchan=1; {SERVED}. "
            "Trained again with two channels, the second empty, it can be used"
        )
    if inputs != 2:
        return (
            f"a CPnet of {inputs} input channels (Cellpose's --all_channels); {SERVED}. "
            "Trained again with two channels (--chan, --chan2), it can be used"
        )
    return None


def some(names: Iterable[str], limit: int = 4) -> str:
    """Returns the first names of many, and how many more there are."""
    known = list(names)
    more = f" and {len(known) - limit} more" if len(known) > limit else ""
    return ", ".join(known[:limit]) + more
