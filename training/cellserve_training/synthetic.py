"""Two-channel images of cells made from nothing: labelled sets with a stained nucleus are rare, drawn ones are free.

The steps follow the specimen: where cells lie, which pixels are whose, nuclei inside cells, how much of each dye every
pixel holds, and what optics and camera make of it. The ranges of all traits are at the top.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from cellserve_formats.labels_png import write_labels_png
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

Range = tuple[float, float]
Field = NDArray[np.float32]
Labels = NDArray[np.uint16]

SMALLEST_SIDE = 64
"""Pixels; below, hardly a whole cell would fit."""
SMALLEST_CELL = 30
"""Pixels; smaller pieces (cells cut by the border, mostly) carry no label."""
DIAMETERS: Range = (18.0, 60.0)
ANGLES = 512
"""Directions in which an outline is sampled."""
PROTRUSIONS = 4
"""Most protrusions of one cell."""


@dataclass(frozen=True, slots=True)
class Form:
    """Ranges from which the cells of one kind of tissue draw their place and shape."""

    coverage: Range  # part of the field that may hold cells
    spacing: Range  # least distance of two cells' centres, in diameters
    oversize: Range  # outline over nominal size: above 1 neighbours meet in straight borders
    size_spread: Range  # deviation of log sizes
    elongation: Range  # long over short axis
    wobble: Range  # amplitude of the outline's waves
    protrusions: Range  # length of protrusions, in radii


@dataclass(frozen=True, slots=True)
class Stain:
    """Ranges from which the dye of plane 0 draws; signals are relative to a well stained cell."""

    fill: Range  # dye in the cell body
    rim: Range  # dye at the membrane
    thinning: Range  # how fast the body fades towards its outline
    texture: Range  # strength of the uneven filling
    grain: Range  # size of the texture's features, in diameters
    hole: Range  # dye that the nucleus keeps out (negative: takes up)
    cell_spread: Range  # deviation of log brightness from cell to cell
    background: Range


SHEET = Form((0.8, 1.2), (0.70, 0.76), (1.4, 1.7), (0.03, 0.20), (1.0, 1.5), (0.02, 0.10), (0.0, 0.0))
COLONIES = Form((0.3, 0.8), (0.68, 0.80), (1.05, 1.3), (0.05, 0.25), (1.0, 1.5), (0.03, 0.15), (0.0, 0.2))
ROUND = Form((0.4, 1.2), (0.90, 1.60), (0.95, 1.05), (0.05, 0.25), (1.0, 1.2), (0.00, 0.05), (0.0, 0.0))
SPREAD = Form((0.5, 1.2), (0.80, 1.40), (1.0, 1.2), (0.10, 0.25), (1.3, 3.0), (0.10, 0.25), (0.2, 1.8))
FORMS = (SHEET, COLONIES, ROUND, SPREAD)

CYTOPLASM = Stain((0.8, 1.0), (0.0, 0.2), (0.2, 0.9), (0.1, 0.4), (0.05, 0.3), (-0.3, 0.7), (0.1, 0.5), (0.02, 0.2))
MEMBRANE = Stain((0.05, 0.3), (0.7, 1.2), (0.0, 0.2), (0.1, 0.4), (0.05, 0.3), (0.0, 0.8), (0.05, 0.3), (0.02, 0.2))
GRANULAR = Stain((0.7, 1.0), (0.0, 0.1), (0.1, 0.6), (0.6, 1.0), (0.04, 0.1), (0.4, 0.95), (0.1, 0.5), (0.02, 0.2))
# Borders of touching cells do not show: only the nuclei tell them apart.
WEAK = Stain((0.2, 0.6), (0.0, 0.0), (0.0, 0.15), (0.2, 0.6), (0.3, 1.0), (-0.2, 0.3), (0.0, 0.1), (0.1, 0.4))
STAINS = (CYTOPLASM, MEMBRANE, GRANULAR, WEAK)


@dataclass(frozen=True, slots=True)
class Scene:
    """The traits that all cells of one image share."""

    form: Form
    stain: Stain
    diameter: float  # px
    nucleus_size: float  # radius over the depth of the cell
    missing_nuclei: float  # part of the cells
    binucleate: float  # part of the cells
    debris: int  # specks
    crosstalk: tuple[float, float]  # of plane 1 into plane 0, of plane 0 into plane 1
    blur: tuple[float, float]  # px, of each plane
    photons: tuple[float, float]  # from a well stained pixel, in each plane
    read_noise: float  # photons
    vignetting: float  # light lost in the corners


def synthesize(
    rng: Generator,
    shape: tuple[int, int] = (256, 256),
    forms: Sequence[Form] = FORMS,
    stains: Sequence[Stain] = STAINS,
) -> tuple[NDArray[np.uint8], Labels]:
    """Draw one image and its label image.

    Args:
        rng: Source of all randomness: equal states give equal images.
        shape: (Y, X) in pixels, each at least 64.
        forms: Kinds of tissue that the image is drawn from.
        stains: Kinds of stain that the image is drawn from.

    Returns:
        Image uint8 [2, Y, X] (plane 0 cytoplasm or membrane, plane 1 nuclei) and labels uint16 [Y, X] of whole cells:
        0 is ground, 1..N are cells, each of one piece (4-connected) and at least 30 pixels; N is at least 1.

    Raises:
        ValueError: The shape is too small.
    """
    if min(shape) < SMALLEST_SIDE:
        raise ValueError(f"shape is {shape}; allowed: at least {SMALLEST_SIDE} each")
    while True:
        scene = _draw_scene(rng, forms, stains)
        # Cells that reach in from outside are drawn whole, so that the border cuts cells as a camera does.
        margin = round(0.7 * scene.diameter)
        canvas = (shape[0] + 2 * margin, shape[1] + 2 * margin)
        inside = (slice(margin, -margin), slice(margin, -margin))
        cells = _tidy(_grow_cells(rng, scene, canvas))
        labels = _tidy(cells[inside])
        if labels.any():
            break
    depth = _depth(cells)
    nuclei = _grow_nuclei(rng, scene, cells, depth)
    body = _stain_cells(rng, scene, cells, depth, nuclei)[inside]
    nuclear = _stain_nuclei(rng, scene, nuclei)[inside]
    return _photograph(rng, scene, body, nuclear), labels


def write_synthetic(folder: Path, count: int, seed: int, shape: tuple[int, int] = (256, 256)) -> None:
    """Write pairs `synthetic_0000_img.tif` (uint8 [2, Y, X], axes CYX) and `synthetic_0000_masks.png` (uint16 [Y, X]).

    Image i depends on `seed`, `i` and `shape` alone, so a larger set begins with the smaller one.

    Args:
        folder: Where to write; created where missing.
        count: Number of pairs.
        seed: Seed of the set.
        shape: (Y, X) of every image, see `synthesize`.

    Raises:
        OSError: A file cannot be written.
        ValueError: The shape is too small.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        image, labels = synthesize(np.random.default_rng([seed, i]), shape)
        name = f"synthetic_{i:04d}"
        tifffile.imwrite(folder / f"{name}_img.tif", image, metadata={"axes": "CYX"}, compression="zlib")
        write_labels_png(folder / f"{name}_masks.png", labels)


def _draw_scene(rng: Generator, forms: Sequence[Form], stains: Sequence[Stain]) -> Scene:
    return Scene(
        form=forms[int(rng.integers(len(forms)))],
        stain=stains[int(rng.integers(len(stains)))],
        diameter=_log_uniform(rng, DIAMETERS),
        nucleus_size=rng.uniform(0.5, 0.85),
        missing_nuclei=rng.uniform(0.0, 0.12),
        binucleate=rng.uniform(0.0, 0.08),
        debris=int(rng.integers(0, 12)),
        crosstalk=(rng.uniform(0.0, 0.15), rng.uniform(0.0, 0.15)),
        blur=(_log_uniform(rng, (0.5, 2.2)), _log_uniform(rng, (0.5, 2.5))),
        photons=(_log_uniform(rng, (15, 500)), _log_uniform(rng, (15, 500))),
        read_noise=rng.uniform(0.5, 3.0),
        vignetting=rng.uniform(0.0, 0.4),
    )


def _grow_cells(rng: Generator, scene: Scene, canvas: tuple[int, int]) -> NDArray[np.int32]:
    """Give every pixel to the cell whose outline it is deepest inside: a Voronoi diagram where cells are crowded."""
    form = scene.form
    centres = _scatter(rng, scene, canvas)
    nominal = scene.diameter / 2 * rng.uniform(*form.oversize)
    radii = nominal * _spread(rng, rng.uniform(*form.size_spread), len(centres))
    outlines = _outlines(rng, radii, form.elongation, rng.uniform(*form.wobble), rng.uniform(*form.protrusions))
    warp = np.stack([_smooth_noise(rng, canvas, scene.diameter / 2) for _ in range(2)])
    return _fill_outlines(centres, outlines, scene.diameter * rng.uniform(0.0, 0.05) * warp)


def _scatter(rng: Generator, scene: Scene, canvas: tuple[int, int]) -> NDArray[np.float64]:
    """Centres [N, 2] (y, x) no closer than the form's spacing, in the best part of a random landscape."""
    spacing = rng.uniform(*scene.form.spacing) * scene.diameter
    candidates = rng.uniform((0, 0), canvas, size=(int(8 * canvas[0] * canvas[1] / spacing**2) + 1, 2))
    landscape = _smooth_noise(rng, canvas, 3 * scene.diameter)
    height = landscape[tuple(candidates.astype(int).T)]
    candidates = candidates[height >= np.quantile(height, max(1 - rng.uniform(*scene.form.coverage), 0))]
    free = np.ones(len(candidates), bool)
    chosen = []
    for i, crowded in enumerate(cKDTree(candidates).query_ball_point(candidates, spacing)):
        if free[i]:
            free[crowded] = False
            chosen.append(i)
    return np.asarray(candidates[chosen])


def _outlines(
    rng: Generator, radii: NDArray[np.float64], elongation: Range, wobble: float, protrusions: float
) -> NDArray[np.float64]:
    """Distances [N, ANGLES] from centre to outline: waves and protrusions on ellipses of area pi * radius**2."""
    n = (len(radii), 1, 1)
    angle = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)
    axis = rng.uniform(0, np.pi, n[:2])
    ratio = rng.uniform(*elongation, n[:2])
    ellipse = 1 / np.sqrt(np.cos(angle - axis) ** 2 / ratio + np.sin(angle - axis) ** 2 * ratio)
    order = np.arange(2, 8)[:, None]
    several = (len(radii), len(order), 1)
    phase = rng.uniform(0, 2 * np.pi, several)
    waves = 2 * wobble / order * rng.standard_normal(several) * np.cos(order * angle + phase)
    several = (len(radii), PROTRUSIONS, 1)
    turn = angle - rng.uniform(0, 2 * np.pi, several)
    bumps = rng.uniform(0, protrusions, several) * np.exp(rng.uniform(5, 40, n) * (np.cos(turn) - 1))
    outline = ellipse * np.exp(waves.sum(axis=1)) + bumps.sum(axis=1)
    size = np.sqrt(np.mean(outline**2, axis=1))
    return np.asarray(outline * (radii / size)[:, None])


def _fill_outlines(centres: NDArray[np.float64], outlines: NDArray[np.float64], warp: Field) -> NDArray[np.int32]:
    """Index + 1 [Y, X] of the outline around each pixel (the one it lies deepest in), 0 outside all.

    Args:
        centres: [N, 2] (y, x).
        outlines: [N, ANGLES] distances from the centre.
        warp: [2, Y, X] displacement (y, x) of every pixel.
    """
    canvas = warp.shape[1:]
    owner = np.zeros(canvas, np.int32)
    nearest = np.ones(canvas, np.float32)
    grid = np.indices(canvas, dtype=np.float32) + warp
    slack = float(np.abs(warp).max(initial=0)) + 1
    for i, (centre, outline) in enumerate(zip(centres, outlines.astype(np.float32), strict=True)):
        reach = outline.max() + slack
        low = np.maximum(centre - reach, 0).astype(int)
        high = np.maximum(centre + reach + 1, 0).astype(int)
        window = (slice(low[0], high[0]), slice(low[1], high[1]))
        if 0 in owner[window].shape:
            continue
        y, x = (grid[axis][window] - np.float32(centre[axis]) for axis in range(2))
        distance, angle = cv2.cartToPolar(x, y)
        distance /= outline[(angle * (ANGLES / (2 * np.pi))).astype(np.intp) % ANGLES]
        closer = distance < nearest[window]
        nearest[window][closer] = distance[closer]
        owner[window][closer] = i + 1
    return owner


def _tidy(cells: NDArray[np.int32] | Labels) -> Labels:
    """Keep the largest piece of every cell, drop small ones and number the rest without gaps."""
    tidy = np.zeros(cells.shape, np.uint16)
    count = 0
    for label, window in enumerate(ndimage.find_objects(cells), start=1):
        if window is None:
            continue
        mask = (cells[window] == label).astype(np.uint8)
        _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
        if stats[largest, cv2.CC_STAT_AREA] >= SMALLEST_CELL:
            count += 1
            tidy[window][pieces == largest] = count
    return tidy


def _depth(cells: Labels) -> Field:
    """Distance of every pixel to the outline of its own cell, px."""
    kernel = np.ones((3, 3), np.uint8)
    inner = (cells > 0) & (cv2.erode(cells, kernel) == cv2.dilate(cells, kernel))
    return np.asarray(cv2.distanceTransform(inner.astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def _grow_nuclei(rng: Generator, scene: Scene, cells: Labels, depth: Field) -> NDArray[np.int32]:
    """Nuclei [Y, X], 0 outside: around the deepest point of their cell and inside it; some cells have none or two."""
    index = np.arange(1, int(cells.max()) + 1)
    home = np.array(ndimage.maximum_position(depth, cells, index), np.float64)
    room = depth[tuple(home.astype(int).T)].astype(np.float64)
    drawn = rng.uniform(size=len(index))
    present = np.flatnonzero(drawn >= scene.missing_nuclei)
    twins = np.flatnonzero(drawn > 1 - scene.binucleate)
    owners = np.concatenate([present, twins])
    shift = 0.25 * (1 - scene.nucleus_size) * rng.standard_normal((len(owners), 2))
    radii = scene.nucleus_size * room[owners] * _spread(rng, 0.1, len(owners))
    paired = np.isin(owners, twins)
    radii[paired] *= 0.65
    apart = np.where(np.arange(len(owners)) < len(present), 1, -1) * paired * 0.5
    centres = home[owners] + room[owners, None] * (shift + apart[:, None] * (0.8, 0.6))
    outlines = _outlines(rng, np.maximum(radii, 1.5), (1.0, 1.5), 0.04, 0.0)
    nuclei = _fill_outlines(centres, outlines, np.zeros((2, *cells.shape), np.float32))
    owner_labels = np.concatenate([[0], index[owners]])
    return np.where((owner_labels[nuclei] == cells) & (depth > 0), nuclei, 0)


def _stain_cells(rng: Generator, scene: Scene, cells: Labels, depth: Field, nuclei: NDArray[np.int32]) -> Field:
    """Dye of plane 0, float32 [Y, X]; 1 is a well stained pixel."""
    stain = scene.stain
    radius = scene.diameter / 2
    gain = np.concatenate([[0], np.maximum(_spread(rng, rng.uniform(*stain.cell_spread), int(cells.max())), 0.3)])
    thickness = np.minimum((depth + 1) / radius, 1) ** rng.uniform(*stain.thinning)
    width = max(0.06 * radius, 1.0)
    rim = np.exp(-0.5 * (depth / width) ** 2) * np.exp(0.3 * _smooth_noise(rng, cells.shape, radius))
    grain = max(rng.uniform(*stain.grain) * scene.diameter, 1.5)
    texture = np.exp(rng.uniform(*stain.texture) * _smooth_noise(rng, cells.shape, grain))
    shade = 1 - rng.uniform(*stain.hole) * cv2.GaussianBlur((nuclei > 0).astype(np.float32), (0, 0), 1)
    dye = rng.uniform(*stain.fill) * thickness * texture * shade + rng.uniform(*stain.rim) * rim
    ground = rng.uniform(*stain.background) * np.exp(0.2 * _smooth_noise(rng, cells.shape, 2 * scene.diameter))
    return np.asarray(gain[cells] * dye + ground + _specks(rng, scene, cells.shape), np.float32)


def _stain_nuclei(rng: Generator, scene: Scene, nuclei: NDArray[np.int32]) -> Field:
    """Dye of plane 1, float32 [Y, X]; 1 is a well stained pixel."""
    gain = np.concatenate([[0], np.maximum(_spread(rng, rng.uniform(0.1, 0.4), int(nuclei.max())), 0.3)])
    chromatin = np.exp(rng.uniform(0.05, 0.3) * _smooth_noise(rng, nuclei.shape, max(0.08 * scene.diameter, 1.5)))
    ground = rng.uniform(0.01, 0.15) * np.exp(0.2 * _smooth_noise(rng, nuclei.shape, 2 * scene.diameter))
    return np.asarray(gain[nuclei] * chromatin + ground + _specks(rng, scene, nuclei.shape), np.float32)


def _specks(rng: Generator, scene: Scene, canvas: tuple[int, ...]) -> Field:
    """Debris: specks that carry no label, float32 [Y, X]."""
    centres = rng.uniform((0, 0), canvas, size=(scene.debris, 2))
    radii = rng.uniform(0.8, 0.12 * scene.diameter, scene.debris)
    outlines = _outlines(rng, radii, (1.0, 2.0), 0.2, 0.0)
    brightness = np.concatenate([[0], rng.uniform(0.2, 1.5, scene.debris)])
    specks = _fill_outlines(centres, outlines, np.zeros((2, *canvas), np.float32))
    return brightness[specks].astype(np.float32)


def _photograph(rng: Generator, scene: Scene, body: Field, nuclear: Field) -> NDArray[np.uint8]:
    """What the camera shows of the two dyes: crosstalk, blur, scattered light, uneven lighting, noise, 8 bits."""
    seen = (body + scene.crosstalk[0] * nuclear, nuclear + scene.crosstalk[1] * body)
    light = _lighting(rng, scene, body.shape)
    planes = []
    for dye, blur, photons in zip(seen, scene.blur, scene.photons, strict=True):
        sharp = cv2.GaussianBlur(dye, (0, 0), blur)
        haze = cv2.GaussianBlur(dye, (0, 0), scene.diameter / 3)
        share = rng.uniform(0.0, 0.3)
        arrived = rng.poisson(photons * light * ((1 - share) * sharp + share * haze))
        signal = arrived + scene.read_noise * rng.standard_normal(dye.shape)
        black, white = np.quantile(signal, (0.001, 0.998))
        floor, ceiling = rng.uniform(0, 30), rng.uniform(120, 255)
        planes.append(floor + (signal - black) / max(white - black, 1.0) * (ceiling - floor))
    return np.asarray(np.rint(np.stack(planes)).clip(0, 255), np.uint8)


def _lighting(rng: Generator, scene: Scene, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Light [Y, X] that reaches each pixel: a slope, and corners darker than the centre."""
    y, x = (np.linspace(-1, 1, side) for side in shape)
    slope = 1 + rng.uniform(-0.15, 0.15) * y[:, None] + rng.uniform(-0.15, 0.15) * x
    return np.asarray(slope * (1 - scene.vignetting * (y[:, None] ** 2 + x**2) / 2))


def _smooth_noise(rng: Generator, shape: tuple[int, ...], scale: float) -> Field:
    """Random field [Y, X] of mean about 0 and deviation about 1 with features of about `scale` pixels."""
    pitch = max(scale / 2, 1.0)
    sigma = scale / 2 / pitch
    coarse = rng.standard_normal([int(side / pitch) + 2 for side in shape], dtype=np.float32)
    coarse = cv2.GaussianBlur(coarse, (0, 0), sigma) * (2 * np.sqrt(np.pi) * sigma)
    size = [int(np.ceil(side * pitch)) for side in coarse.shape]
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)[: shape[0], : shape[1]], np.float32)


def _spread(rng: Generator, deviation: float, count: int) -> NDArray[np.float64]:
    """Factors [count] around 1 whose logarithms have this deviation."""
    return np.asarray(np.exp(deviation * rng.standard_normal(count)))


def _log_uniform(rng: Generator, bounds: Range) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))
