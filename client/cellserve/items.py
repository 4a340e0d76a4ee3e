"""What `segment_many` and `segment_stream` take: images with keys, given in one of several forms."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from cellserve_formats import EncodedImage, Image

from .images import ImageLike

K = TypeVar("K")

Pairs = Mapping[K, ImageLike] | Iterable[tuple[K, ImageLike]]
"""Images with keys: a mapping, or pairs of a key and an image."""
AsyncPairs = Pairs[K] | AsyncIterable[tuple[K, ImageLike]]

_SINGLE = (str, bytes, os.PathLike, Image, EncodedImage, np.ndarray)
_EXPECTED = "expected an image, a path or a pair (key, image)"
_WANTED = "images, paths, pairs (key, image), or a dict of images"


def keyed(images: Any) -> Iterator[tuple[Any, ImageLike]]:
    """Gives each image its key, and reads no further than asked.

    Args:
        images: A mapping of images, or an iterable of images, paths and pairs (key, image). A pair is a tuple of two.

    Returns:
        Pairs of a key and an image. The key is that of the mapping or pair; the path itself for a path; otherwise the
        number of the image, from 0.

    Raises:
        TypeError: `images` is a single image, or nothing to iterate over. While iterating: an item is no image.
    """
    check_many(images)
    if isinstance(images, AsyncIterable):
        raise TypeError("the images come asynchronously: use AsyncClient")
    # `map` holds no item after handing it on: an image must not outlive its call.
    return map(pair, itertools.count(), images.items() if isinstance(images, Mapping) else images)


def keyed_async(images: Any) -> AsyncIterator[tuple[Any, ImageLike]]:
    """`keyed` for asyncio. Takes asynchronous iterables, too. A plain iterable may block: it is read in a thread."""
    check_many(images)
    return _keyed_async(images)


def check_many(images: Any) -> None:
    """Refuses what is no collection of images.

    Raises:
        TypeError: `images` is a single image, or nothing to iterate over.
    """
    if isinstance(images, _SINGLE):
        raise TypeError(f"expected several images: {_WANTED}; this is {_described(images)}. {_single_advice(images)}")
    if not isinstance(images, Iterable | AsyncIterable):
        raise TypeError(f"expected {_WANTED}; this is of type {type(images).__name__}")


def pair(number: int, item: Any) -> tuple[Any, ImageLike]:
    """Returns key and image of one item.

    Args:
        number: Number of the item, from 0.
        item: An image, a path, or a pair (key, image).

    Raises:
        TypeError: The item is none of these.
    """
    if isinstance(item, tuple):
        if len(item) != 2:
            raise TypeError(
                f"item {number} is a tuple of {len(item)}; expected an image, a path or a pair (key, image)"
            )
        if isinstance(item[0], np.ndarray | Image | EncodedImage):
            raise TypeError(f"item {number} is a pair that begins with an image; a pair is (key, image)")
        return item[0], item[1]
    if isinstance(item, str | os.PathLike):
        return item, item
    if (
        isinstance(item, Image | EncodedImage | list)
        or hasattr(item, "__array__")
        or hasattr(item, "__array_interface__")
    ):
        return number, item
    advice = "; EncodedImage(data) takes the bytes of a file" if isinstance(item, bytes) else ""
    raise TypeError(f"item {number} is of type {type(item).__name__}; {_EXPECTED}{advice}")


async def _keyed_async(images: Any) -> AsyncIterator[tuple[Any, ImageLike]]:
    if isinstance(images, AsyncIterable):
        number = 0
        async for item in images:
            yield pair(number, item)
            number += 1
    else:
        remaining = keyed(images)
        while (following := await asyncio.to_thread(next, remaining, None)) is not None:
            yield following


def _described(image: Any) -> str:
    if isinstance(image, np.ndarray):
        return f"one array of shape {image.shape}"
    return f"the path {os.fspath(image)!r}" if isinstance(image, str | os.PathLike) else f"one {type(image).__name__}"


def _single_advice(image: Any) -> str:
    if isinstance(image, np.ndarray):
        return "Use segment for one image, list(stack) for the images of a stack"
    if isinstance(image, str | os.PathLike):
        return "Use segment for one file, sorted(Path(folder).glob('*.tif')) for the files of a folder"
    return "Use segment for one image"
