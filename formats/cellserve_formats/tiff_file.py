"""TIFF files and sets of TIFF files, opened at the image that was chosen."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile

from .encoded import file_format
from .errors import ImageError
from .files import FileBytes, map_bytes, read_bytes
from .limits import Limits
from .ome import OmeDocument, OmeImage, master_of, text_of
from .tiff_directories import check_directories, damaged

_MOST_LISTED = 10


@dataclass(frozen=True, slots=True)
class TiffSource:
    """The bytes of a TIFF file, and where the file stands.

    Attributes:
        data: The file: in memory, or mapped from `path`.
        path: Its path; None if there is none, so that no other file can be read.
    """

    data: FileBytes
    path: Path | None = None

    def opened(self) -> io.BytesIO | Path:
        """Returns what the parser opens: the bytes in memory, or the path of a mapped file."""
        if isinstance(self.data, bytes):
            return io.BytesIO(self.data)
        assert self.path is not None
        return self.path


@dataclass(frozen=True, slots=True)
class OpenImage:
    """One image of an open file.

    Attributes:
        file: The file.
        series: The image: axes, shape, pages.
        ome: OME-XML of the image alone; None if the file has none.
    """

    file: tifffile.TiffFile
    series: Any
    ome: ElementTree.Element | None


@contextlib.contextmanager
def opened(source: TiffSource, limits: Limits, chosen: int | None) -> Iterator[OpenImage]:
    """Opens a TIFF file at one of its images; smaller copies (pyramids) and masks do not count.

    Args:
        source: The file.
        limits: Pages and tags are compared.
        chosen: Number of the image, from 0; None: the only one.

    Raises:
        ImageError: IMAGE_UNKNOWN if the file holds several images and none is chosen, or the chosen one is not there.
            IMAGE_UNDECODABLE if a file of a set is missing.
    """
    with contextlib.ExitStack() as stack:
        file, document = open_document(source, limits, stack)
        if document is not None and document.images:
            image = document.images[_choose(document.images, chosen)]
            yield open_ome_image(image, document, file, source, limits, stack)
        else:
            images = images_of(file)
            series = images[_choose([_described(series) for series in images], chosen)]
            yield with_pages(file, series, None if document is None else document.root)


def open_document(
    source: TiffSource, limits: Limits, stack: contextlib.ExitStack
) -> tuple[tifffile.TiffFile, OmeDocument | None]:
    """Opens a TIFF file, and reads the OME-XML that describes it; None if there is none. Errors as in `opened`."""
    check_directories(source.data, limits)
    file = stack.enter_context(_open(source.opened()))
    return file, _document(file, source, limits)


def open_ome_image(
    image: OmeImage,
    document: OmeDocument,
    file: tifffile.TiffFile,
    source: TiffSource,
    limits: Limits,
    stack: contextlib.ExitStack,
) -> OpenImage:
    """Opens a file, and the files that belong to it, at one image of its document. Errors as in `opened`."""
    root = document.only([image])
    if image.files:
        check_set(image.files, source, limits)
    if image.files or not document.is_written(root):
        file = reopened(source, root, bool(image.files), stack)
    images = images_of(file)
    return with_pages(file, images[_choose([_described(series) for series in images], None)], root)


def reopened(
    source: TiffSource, root: ElementTree.Element, is_set: bool, stack: contextlib.ExitStack
) -> tifffile.TiffFile:
    """Opens a file as another document describes it. The files of a set are found beside its path."""
    where = source.path if is_set and source.path else source.opened()
    return stack.enter_context(_open(where, text_of(root)))


def images_of(file: tifffile.TiffFile) -> list[Any]:
    """Returns the images of an open file, as the parser knows them. Raises ImageError if there is none."""
    images = [series for series in file.series if not (series.keyframe.is_reduced or series.keyframe.is_mask)]
    if not images:
        raise damaged("it holds no image")
    return images


def with_pages(file: tifffile.TiffFile, series: Any, ome: ElementTree.Element | None) -> OpenImage:
    """Returns an image whose pages are there. Raises ImageError IMAGE_UNDECODABLE."""
    described = int((file.imagej_metadata or {}).get("images", 1)) if file.is_imagej else 1
    if any(part is None for part in series.pages) or (described > len(file.pages) and series.kind != "imagej"):
        raise damaged("some of the planes that it describes are not there")
    return OpenImage(file, series, ome)


def _open(where: io.BytesIO | Path, omexml: str | None = None) -> tifffile.TiffFile:
    # The parsers of these formats follow tables that nothing bounds. OME or ImageJ metadata beside are read.
    return tifffile.TiffFile(where, omexml=omexml, is_mmstack=False, is_ndtiff=False, is_scn=False)


def _choose(images: Sequence[object], chosen: int | None) -> int:
    if chosen is None and len(images) == 1:
        return 0
    if chosen is not None and 0 <= chosen < len(images):
        return chosen
    listed = "; ".join(f"{number}: {image}" for number, image in enumerate(images[:_MOST_LISTED]))
    more = f"; and {len(images) - _MOST_LISTED} more" if len(images) > _MOST_LISTED else ""
    held = f"{len(images)} image{'s' * (len(images) > 1)} ({listed}{more})"
    problem = "" if chosen is None else f"there is no image {chosen}; "
    raise ImageError(
        f"the TIFF file holds {held}; {problem}choose one by its number: series (--series N on the command line)",
        "IMAGE_UNKNOWN",
        available=len(images),
    )


def _described(series: Any) -> str:
    sizes = " x ".join(f"{length} {axis}" for axis, length in zip(series.axes, series.shape, strict=True))
    return f"{sizes} {series.dtype}"


def _document(file: tifffile.TiffFile, source: TiffSource, limits: Limits) -> OmeDocument | None:
    """Returns the OME-XML of a file, read from another file if it refers to one."""
    root = _parsed(file, limits)
    if root is None:
        return None
    uuid, name = root.get("UUID"), source.path.name if source.path else ""
    master = master_of(root)
    if master is None:
        return OmeDocument(root, name, uuid)
    data = _beside(master, source, limits)
    if data is None:
        raise _missing([master], source)
    if file_format(data) == "tiff":
        check_directories(data, limits)
        with _open(TiffSource(data, _place(master, source)).opened()) as other:
            described = _parsed(other, limits)
    else:
        described = OmeDocument.parse(bytes(data).decode(errors="replace"), len(file.pages), _area(file), limits)
    if described is None or master_of(described) is not None:
        raise damaged(f"the file {master} does not describe the set that it belongs to")
    return OmeDocument(described, name, uuid, master)


def _parsed(file: tifffile.TiffFile, limits: Limits) -> ElementTree.Element | None:
    text = file.ome_metadata if file.is_ome else None
    return OmeDocument.parse(text, len(file.pages), _area(file), limits) if text else None


def _area(file: tifffile.TiffFile) -> int:
    first: Any = file.pages.first
    return int(first.imagewidth * first.imagelength)


def check_set(files: Sequence[str], source: TiffSource, limits: Limits) -> None:
    """Checks the other files of a set before the parser opens them."""
    missing = []
    for name in files:
        data = _beside(name, source, limits)
        if data is None:
            missing.append(name)
        elif file_format(data) != "tiff":
            raise damaged(f"the file {name} of its set is no TIFF file")
        else:
            check_directories(data, limits)
    if missing:
        raise _missing(missing, source)


def _beside(name: str, source: TiffSource, limits: Limits) -> FileBytes | None:
    """Returns the bytes of a file in the same folder, mapped as those of the source; None if there is no such file."""
    path = _place(name, source)
    if path is None or not path.is_file():
        return None
    return read_bytes(path, 2 * limits.bytes) if isinstance(source.data, bytes) else map_bytes(path)


def _place(name: str, source: TiffSource) -> Path | None:
    """Returns the path of a file in the same folder."""
    if source.path is None or not name or Path(name).name != name:
        return None
    return source.path.with_name(name)


def _missing(names: Sequence[str], source: TiffSource) -> ImageError:
    listed = ", ".join(names[:_MOST_LISTED]) + (", ..." if len(names) > _MOST_LISTED else "")
    if source.path is None:
        message = (
            f"the image is spread over several files, and {listed} did not come with this one; "
            "segment it by the path of a file that has the others beside it, or save the image as one file"
        )
    else:
        message = f"the image is spread over several files, and {listed} is missing; put it into the same folder"
    return ImageError(message, "IMAGE_UNDECODABLE", missing=", ".join(names))


def is_slide(path: Path) -> bool:
    """Tells whether a TIFF file is of a slide scanner: such files say so in words of their own."""
    try:
        with tifffile.TiffFile(path) as file:
            return any(getattr(file, f"is_{scanner}") for scanner in ("svs", "ndpi", "scn", "bif", "philips"))
    except Exception:  # damaged; the reader of TIFF files says in which way
        return False
