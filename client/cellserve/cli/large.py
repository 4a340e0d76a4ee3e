"""Images that no call can hold: Zarr stores, slides, and images that exceed the limits of the server."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from cellserve_contract.params import SegmentParams
from cellserve_formats.contents import is_store, open_images

from cellserve.channel_names import ChannelNames
from cellserve.engines import Engine, EngineOptions, LargeSegmentation, find_engine
from cellserve.errors import CellServeError, InvalidRequestError, one_image
from cellserve.files import reading
from cellserve.params import DIAMETER_SOURCES
from cellserve.saving import LABELS_IN_IMAGE, large_results, result_files

from .outputs import Outputs, Wanted, is_complete
from .report import warning_lines
from .run import Run


def is_too_large(error: CellServeError) -> bool:
    """Tells whether an image exceeds a limit on images, of the server or of this machine."""
    return error.reason == "IMAGE_TOO_LARGE"


def is_segmented(path: Path, outputs: Outputs, wanted: Wanted, *, beside: bool) -> bool:
    """Tells whether all results of an image are there that it would have as a large one.

    The table is always written as Parquet. It is CSV, too, only below a million rows, so that CSV does not count.

    Args:
        path: The image.
        outputs: Its result files as an ordinary image.
        wanted: What the run writes.
        beside: Whether results go beside the image.
    """
    results = large_results(outputs.stem)
    kept = {kind: results[kind] for kind in ("table", *(["overlay"] if "overlay" in wanted.words else []))}
    if not is_store(path):
        return is_complete(path, [*kept.values(), results["labels"]])
    # A store has no time of change: its labels change it.
    places = [*path.glob(LABELS_IN_IMAGE), *path.glob(f"*/{LABELS_IN_IMAGE}")] if beside else [results["labels"]]
    return any(place.is_dir() for place in places) and all(result.exists() for result in kept.values())


def without_effect(wanted: Wanted) -> str:
    """Says what a run asks for that large images do not get; "" for nothing."""
    unwritten = [file.word for file in reversed(result_files(wanted.words)) if not file.large]
    ignored = [f"--save {','.join(unwritten)}"] if unwritten else []
    ignored += [option for option, given in (("--numbers", wanted.numbers), ("--fill", wanted.filled)) if given]
    return f"no effect on large images: {', '.join(ignored)}" if ignored else ""


def segment_large(
    path: Path,
    out: Path | None,
    params: SegmentParams,
    names: ChannelNames,
    options: EngineOptions,
    run: Run,
    *,
    refused: CellServeError | None,
    alone: bool,
) -> None:
    """Segments an image part by part, and prints the outcome.

    Args:
        path: The image.
        out: What the names of the results begin with; None: beside the image.
        params: Parameters.
        names: Channels that are named.
        options: Keywords of the engine.
        run: Prints the outcome.
        refused: Why a call cannot hold the image; None for a Zarr store or a slide.
        alone: Whether the image is the only one: its outcome is printed at length.
    """
    try:
        with one_image():
            engine = _engine(path, refused)
            result = engine(path, out, _resolved(path, params, names, options), **options)
    except CellServeError as error:
        run.fail(path, error)
    else:
        run.succeed(path, record(path, result), totals(result) if alone else summary(path, result))


def _resolved(path: Path, params: SegmentParams, names: ChannelNames, options: EngineOptions) -> SegmentParams:
    """Returns parameters with the numbers of the channels that are named, by the metadata of the image."""
    if names == ChannelNames() and params.cytoplasm_channel is None and params.nucleus_channel is None:
        return params
    with reading(path), open_images(path, axes=options["axes"]) as file:
        number = options["series"] or 0
        if number >= len(file.positions) or (len(file.positions) > 1 and options["series"] is None):
            return params  # the engine says which images there are
        return names.resolved(params, file.positions[number].channels)


def _engine(path: Path, refused: CellServeError | None) -> Engine:
    """Returns the engine; if none is installed, the error says what the engine would be needed for."""
    if refused is None:
        return find_engine(f"{path}: a Zarr store or slide")
    try:
        return find_engine("Segmenting the image part by part")
    except InvalidRequestError as missing:
        message = f"{refused.message}. {missing.message}"
        raise type(refused)(message, refused.code, refused.reason, refused.metadata, refused.request_id) from missing


def summary(path: Path, result: LargeSegmentation) -> str:
    """Returns one line about an image, and one for each of its warnings."""
    return "\n".join([f"{path}: {_count(result)}, {_speed(result)}", *warning_lines(result.warnings)])


def totals(result: LargeSegmentation) -> str:
    """Returns a few lines about an image: objects, size, model, time, files."""
    model, diameter = result.model, result.params.diameter or 0.0
    lines = [
        f"objects   {_count(result)}; image {' x '.join(map(str, result.shape))} px",
        f"diameter  {diameter:.1f} px ({DIAMETER_SOURCES[result.diameter_source]})",
        f"model     {model.family}: {model.name} version {model.version}, sha256 {model.sha256[:12]}",
        f"computed  in {model.precision or 'unknown precision'}, by {model.runtime or 'an unknown runtime'}",
        f"time      {_speed(result)}",
        *warning_lines(result.warnings),
        *(f"wrote     {file}" for file in _files(result).values()),
    ]
    return "\n".join(lines)


def record(path: Path, result: LargeSegmentation) -> dict[str, Any]:
    """Returns one image's outcome for `--json`."""
    return {
        "file": str(path),
        "objects": result.objects,
        "median_diameter": result.median_diameter,
        "files": {word: [str(file)] for word, file in _files(result).items()},
        "axes": result.axes,
        "shape": list(result.shape),
        "pixel_size_um": result.pixel_size and result.pixel_size._asdict(),
        "params": dataclasses.asdict(result.params),
        "diameter_source": result.diameter_source,
        "model": dataclasses.asdict(result.model),
        "seconds": result.seconds,
        "megapixels_per_s": result.megapixels_per_s,
        "warnings": [dataclasses.asdict(warning) for warning in result.warnings],
    }


def _files(result: LargeSegmentation) -> dict[str, Path]:
    """Returns the files by the words of `--save`."""
    files = {"masks": result.labels, "parquet": result.table, "csv": result.csv, "overlay": result.overlay}
    return {word: file for word, file in files.items() if file is not None}


def _count(result: LargeSegmentation) -> str:
    count = f"{result.objects} object{'' if result.objects == 1 else 's'}"
    return count if result.median_diameter is None else f"{count}, median diameter {result.median_diameter:.1f} px"


def _speed(result: LargeSegmentation) -> str:
    return f"{result.seconds:.1f} s, {result.megapixels_per_s:.3g} megapixels per second"
