"""OME-XML of TIFF files: its images, and the files that their planes are in."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from .errors import ImageError
from .limits import Limits
from .tiff_directories import damaged

Element = ElementTree.Element


@dataclass(frozen=True, slots=True)
class OmeImage:
    """One image of a document.

    Attributes:
        element: Its element `Image`.
        files: Names of the other files that hold planes of it.
        places: Names of all files that hold planes of it, this file among them.
    """

    element: Element
    files: tuple[str, ...]
    places: tuple[str, ...] = ()

    def __str__(self) -> str:
        pixels = _children(self.element, "Pixels")[0].attrib
        sizes = " x ".join(f"{pixels[f'Size{axis}']} {axis}" for axis in "TCZYX" if pixels.get(f"Size{axis}") != "1")
        return f"{sizes} {pixels.get('Type', '')} {self.element.get('Name', '')!r}"


class OmeDocument:
    """An OME-XML document, seen from one of the files that it describes.

    Args:
        root: Its root element.
        name: Name of the file; "" if the file has none.
        uuid: UUID of the file, None where it has none.
        master: Name of the file with the document, if that is another file.

    Attributes:
        images: The images with planes in this file; all images if no plane is known to be in this file.
        is_rewritten: Whether the document differs from the text that was parsed.
        set: The images of the set of files that this file belongs to. Two files are of one set if an image has planes
            in both of them. The set is the same seen from each of its files.
    """

    def __init__(self, root: Element, name: str, uuid: str | None, master: str = "") -> None:
        self.root = root
        self.is_rewritten = bool(master)
        places = [(data, _children(data, "UUID")) for data in root.iter() if _is(data, "TiffData")]
        for data, uuids in places:
            if master and not uuids:
                ElementTree.SubElement(data, "UUID", FileName=master).text = "the file of the document"
        named = {place.text: place.get("FileName", "") for _, uuids in places for place in uuids}
        own = {text for text, file in named.items() if text == uuid or (name and file.lower() == name.lower())}
        if len(named) == 1 and uuid is None and not master and all(uuids for _, uuids in places):
            own = set(named)  # a file that was renamed, or has no name here
        elements = [image for image in _children(root, "Image") if _children(image, "Pixels")]
        files = [_places(image, own, name) for image in elements]
        for data, uuids in places:  # what is not said to be elsewhere is in this file
            for place in uuids:
                if place.text in own:
                    data.remove(place)
                    self.is_rewritten = True
        images = [OmeImage(image, _files(image), among) for image, among in zip(elements, files, strict=True)]
        self.images = [image for image in images if not image.files or _has_own_planes(image.element)] or images
        self.set = _connected(images, self.images)

    @classmethod
    def parse(cls, text: str, pages: int, area: int, limits: Limits) -> Element | None:
        """Parses a document, its counts checked: the parser of TIFF files makes lists as long as they say.

        Args:
            text: The document.
            pages: Pages of the file.
            area: Pixels of a page. The parser of TIFF files takes an image of more pixels for several planes.
            limits: `pages` is compared.

        Returns:
            The root; None for documents that are not well-formed, which the parser of TIFF files ignores.

        Raises:
            ImageError: The document defines entities, or describes more planes than is allowed.
        """
        if "<!ENTITY" in text:
            raise damaged("its OME-XML defines entities")
        try:
            root = ElementTree.fromstring(text)
        except ElementTree.ParseError:
            return None
        # A sound file has each plane once in the sizes of an image and once in TiffData.
        described, most = sum(_described_planes(element, pages, area) for element in root.iter()), 4 * limits.pages
        if described > most:
            raise ImageError(
                f"the OME-XML describes {described:,} planes; the limit is {most:,}",
                "IMAGE_TOO_LARGE",
                resource="pages",
                value=described,
                limit=most,
            )
        return root

    def only(self, chosen: Collection[OmeImage]) -> Element:
        """Returns the root of a document that describes some of the images alone."""
        kept = {id(image.element) for image in chosen}
        root = ElementTree.Element(self.root.tag, self.root.attrib)
        root.extend(child for child in self.root if not _is(child, "Image") or id(child) in kept)
        return root

    def is_written(self, root: Element) -> bool:
        """Tells whether a root of `only` says what the text that was parsed says."""
        return not self.is_rewritten and len(root) == len(self.root)


def text_of(root: Element) -> str:
    """Returns a document as text."""
    return ElementTree.tostring(root, encoding="unicode")


def master_of(root: Element) -> str | None:
    """Returns the name of the file that has the document of a set, where that is another file."""
    return next((child.get("MetadataFile", "") for child in root if _is(child, "BinaryOnly")), None)


def _is(element: Element, tag: str) -> bool:
    return element.tag.rpartition("}")[2] == tag


def _children(element: Element, tag: str) -> list[Element]:
    return [child for child in element if _is(child, tag)]


def _tiff_data(image: Element) -> Iterator[Element]:
    return (data for data in image.iter() if _is(data, "TiffData"))


def _files(image: Element) -> tuple[str, ...]:
    """Returns the names of the other files of an image, in order."""
    places = (place for data in _tiff_data(image) for place in _children(data, "UUID"))
    return tuple(dict.fromkeys(place.get("FileName", "") for place in places))


def _places(image: Element, own: Collection[str | None], name: str) -> tuple[str, ...]:
    """Returns the names of all files of an image, in order; this file has a name and several UUIDs."""
    places = [_children(data, "UUID") for data in _tiff_data(image)]
    found = (name if not uuids or uuids[0].text in own else uuids[0].get("FileName", "") for uuids in places)
    return tuple(dict.fromkeys(found)) or (name,)


def _connected(images: Sequence[OmeImage], first: Sequence[OmeImage]) -> list[OmeImage]:
    """Returns the images that share files with the first ones, directly or by further images, in order."""
    by_file: dict[str, list[OmeImage]] = {}
    for image in images:
        for file in image.places:
            by_file.setdefault(file, []).append(image)
    found, following = {id(image) for image in first}, list(first)
    while following:
        for file in following.pop().places:
            for image in by_file.pop(file, ()):
                if id(image) not in found:
                    found.add(id(image))
                    following.append(image)
    return [image for image in images if id(image) in found]


def _has_own_planes(image: Element) -> bool:
    return any(not _children(data, "UUID") for data in _tiff_data(image))


def _described_planes(element: Element, pages: int, area: int) -> int:
    """Returns how many planes an element of OME-XML stands for, as the parser counts: by the ends of tags, any axes."""
    attributes: Mapping[str, str] = element.attrib
    tag = element.tag
    if tag.endswith("Pixels"):
        order = attributes["DimensionOrder"]
        if not order.startswith("XY"):
            raise damaged(f"its OME-XML has the unknown order of dimensions {order[:32]}")
        x, y, *others = (abs(int(attributes[f"Size{letter}"])) for letter in order)
        return math.prod(others) * max(1, x * y // max(1, area))
    if tag.endswith("TiffData"):
        return abs(int(attributes.get("PlaneCount", attributes.get("NumPlanes", 1 if "IFD" in attributes else pages))))
    if "Along" in tag and "Start" in attributes:  # a modulo annotation: T, C or Z split into steps
        start, end, step = float(attributes["Start"]), float(attributes["End"]), float(attributes.get("Step", 1))
        return math.ceil(abs((end - start) / step))
    return 0
