"""Are masks by the preset cellpose3 those of Cellpose's `eval`? Same network and diameter, images and volumes.

Both sides compute in f32. Starts a Triton and a gateway of its own, since the precision belongs to the models.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from agreement import IMAGES, cellpose
from cellserve import Client, SegmentParams
from cellserve_evaluation.labels import read_labels
from cellserve_evaluation.metrics import average_precision
from cellserve_postprocess import median_diameter, recover_masks
from numpy.typing import NDArray

from devtools import stack

DEADLINE_S = 3600


@dataclass(frozen=True, slots=True)
class Volume:
    """A part of a labelled volume, small enough for `do_3D` on a processor.

    Attributes:
        name: Of <name>_img.tif.
        part: Voxels of it.
        diameter: Median diameter of the objects' sections in xy planes, pixels.
        anisotropy: Distance of planes over that of pixels.
    """

    name: str
    part: tuple[slice, slice, slice]
    diameter: float
    anisotropy: float


WHOLE = slice(None)
VOLUMES = (
    Volume("ovule_membrane", (WHOLE, WHOLE, WHOLE), 26.5, 1.567),
    Volume("stardist_nuclei", (WHOLE, WHOLE, WHOLE), 11.3, 2.0),
    Volume("ovule_nuclei_1135", (slice(20, 80), slice(20, 80), slice(20, 80)), 17.9, 2.236),
    Volume("mouse_embryo_8cell_nuclei", (WHOLE, slice(20, 84), slice(20, 84)), 13.1, 1.0),
)


def preset(data: Path, peers: Path, weights: Path, kept: Path) -> dict[str, float]:
    """Segments images and volumes both ways.

    Args:
        data: Folder of the data sets; volumes are in `volumes`.
        peers: Python of the environment with Cellpose.
        weights: Checkpoint of network 0, which Cellpose loads as it is; the service runs `ensemble=False`.
        kept: Folder for the results of Cellpose. A volume whose results are there is not segmented again: Cellpose
            takes minutes for each.

    Returns:
        Mean average precision at IoU 0.5 of ours against Cellpose's, of the images and of the volumes. For each volume
        the same; the same for our recovery from Cellpose's own maps; and the root mean square of the difference of the
        maps over that of Cellpose's.
    """
    with tempfile.TemporaryDirectory(prefix="cellserve-") as name:
        folder = Path(name)
        repository = _in_f32(folder / "models")
        (folder / "gateway").mkdir()
        with (
            stack.running(folder / "gateway", model_repository=repository) as at,
            Client(at["grpc"], deadline_s=DEADLINE_S) as client,
        ):
            images = [_compare_image(client, data / image, peers, weights, folder) for image in IMAGES]
            volumes = [_compare_volume(client, data, volume, peers, weights, kept) for volume in VOLUMES]
    figures = {
        "preset_images": float(np.mean(images)),
        "preset_volumes": float(np.mean([found["preset"] for found in volumes])),
    }
    for volume, found in zip(VOLUMES, volumes, strict=True):
        figures |= {f"{figure}_{volume.name}": value for figure, value in found.items()}
    return figures


def _compare_image(client: Client, path: Path, peers: Path, weights: Path, folder: Path) -> float:
    image = imagecodecs.imread(f"{path}_img.png")
    diameter = median_diameter(read_labels(Path(f"{path}_masks.png")))
    theirs, niter = cellpose(peers, weights, image, diameter, folder, None)
    ours = client.segment(image, SegmentParams.preset("cellpose3", ensemble=False, diameter=diameter))
    score = _score(theirs.labels, ours.labels)
    print(
        f"{path.name}: {ours.labels.max()} and {theirs.labels.max()} objects, niter {ours.params.niter} and {niter}, "
        f"AP {score:.3f}",
        flush=True,
    )
    return score


def _compare_volume(
    client: Client, data: Path, volume: Volume, peers: Path, weights: Path, kept: Path
) -> dict[str, float]:
    image = tifffile.imread(data / "volumes" / f"{volume.name}_img.tif")[volume.part]
    masks, maps = _do_3d(image, volume, peers, weights, kept)
    facts = {"diameter": volume.diameter, "anisotropy": volume.anisotropy}
    params = SegmentParams.preset("cellpose3", ensemble=False, stack_mode="volume", **facts)
    ours = client.segment(image, params, axes="ZYX", outputs=["maps"])
    assert ours.maps is not None  # asked for
    same = recover_masks(maps, ours.params).labels
    figures = {
        "preset": _score(masks, ours.labels),
        "preset_same_maps": _score(masks, same),
        "preset_maps_difference": float(np.sqrt(((ours.maps - maps) ** 2).mean() / (maps**2).mean())),
    }
    print(
        f"{volume.name}, {image.shape}: {ours.labels.max()} and {masks.max()} objects, AP {figures['preset']:.3f}; "
        f"from Cellpose's maps {same.max()} objects, AP {figures['preset_same_maps']:.3f}; "
        f"maps differ by {figures['preset_maps_difference']:.2g}",
        flush=True,
    )
    return figures


def _in_f32(folder: Path) -> Path:
    """Copies the model repository, for networks in single precision."""
    shutil.copytree(stack.MODELS, folder)
    for config in folder.glob("*/config.pbtxt"):
        text = config.read_text()
        config.write_text(text.replace('key: "precision" value: "auto"', 'key: "precision" value: "f32"'))
    return folder


def _do_3d(
    image: NDArray[np.generic], volume: Volume, peers: Path, weights: Path, kept: Path
) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
    """Returns the masks and the maps of `do_3D`, [Z, Y, X] and [4, Z, Y, X]."""
    kept.mkdir(parents=True, exist_ok=True)
    masks, maps = (kept / "do_3D" / f"{volume.name}_{what}" for what in ("masks.tif", "maps.npy"))
    if not maps.exists():
        tifffile.imwrite(kept / f"{volume.name}_img.tif", image, metadata={"axes": "ZYX"})
        script = Path(__file__).parent / "peers" / "cellpose_volumes.py"
        command = [peers, script, "--weights", weights, "--volume", kept / f"{volume.name}_img.tif", "--out", kept]
        facts = ["--diameter", str(volume.diameter), "--anisotropy", str(volume.anisotropy)]
        subprocess.run([*command, *facts, "--modes", "do_3D", "--maps"], check=True, stdout=subprocess.DEVNULL)
    return tifffile.imread(masks), np.load(maps)


def _score(theirs: NDArray[np.integer], ours: NDArray[np.integer]) -> float:
    rows = (labels.reshape(-1, labels.shape[-1]).astype(np.int32) for labels in (theirs, ours))
    return float(average_precision(*rows, [0.5])[0])
