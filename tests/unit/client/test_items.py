"""What segment_many and segment_stream take."""

from __future__ import annotations

from pathlib import Path

import cellserve
import numpy as np
import pytest
import tifffile
from cellserve import EncodedImage, Image, Segmentation
from cellserve.items import keyed

ROWS = np.zeros((2, 9), np.uint8)  # could be unpacked as a pair
OTHER = np.ones((30, 40), np.uint8)


class ArrayLike:
    """What other libraries have."""

    def __array__(self, dtype=None, copy=None):
        return OTHER


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([ROWS, OTHER], [(0, ROWS), (1, OTHER)]),
        ((ROWS, OTHER), [(0, ROWS), (1, OTHER)]),
        ((image for image in (ROWS, OTHER)), [(0, ROWS), (1, OTHER)]),
        (enumerate([ROWS, OTHER], 5), [(5, ROWS), (6, OTHER)]),
        ([("a", ROWS), ("b", OTHER)], [("a", ROWS), ("b", OTHER)]),
        ({"a": ROWS, "b": OTHER}, [("a", ROWS), ("b", OTHER)]),
        ({(1, 2): "a.tif"}, [((1, 2), "a.tif")]),
        ({"a": ROWS}.items(), [("a", ROWS)]),
        ([Path("a.tif"), "b.tif"], [(Path("a.tif"), Path("a.tif")), ("b.tif", "b.tif")]),
        ([("a", "b.tif"), "c.tif", ROWS], [("a", "b.tif"), ("c.tif", "c.tif"), (2, ROWS)]),
        (zip(["a.tif"], [ROWS], strict=True), [("a.tif", ROWS)]),
        ([], []),
    ],
)
def test_forms(images, expected):
    got = list(keyed(images))
    assert [key for key, _ in got] == [key for key, _ in expected]
    assert all(image is wanted or image == wanted for (_, image), (_, wanted) in zip(got, expected, strict=True))


@pytest.mark.parametrize(
    "image", [Image(OTHER, "YX"), EncodedImage(b"II*\0"), ArrayLike(), [[1, 2], [3, 4]], np.float32(1)]
)
def test_kinds_of_images_without_a_key(image):
    ((key, got),) = keyed([image])
    assert (key, got is image) == (0, True)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (OTHER, r"one array of shape \(30, 40\). Use segment for one image, list\(stack\) for"),
        ("plate", "the path 'plate'. Use segment for one file, sorted.*glob"),
        (Path("a.tif"), "the path 'a.tif'"),
        (Image(OTHER, "YX"), "one Image. Use segment"),
        (EncodedImage(b"II*\0"), "one EncodedImage"),
        (b"II*\0", "one bytes"),
        (None, "expected images, paths, pairs .*; this is of type NoneType"),
        (3, "of type int"),
    ],
)
def test_what_is_no_collection(images, message):
    with pytest.raises(TypeError, match=message):
        keyed(images)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((1, 2, 3), "item 1 is a tuple of 3; expected an image, a path or a pair"),
        ((OTHER, OTHER), "item 1 is a pair that begins with an image"),
        (None, "item 1 is of type NoneType"),
        ({"image": OTHER}, "item 1 is of type dict"),
        (b"II*\0", r"item 1 is of type bytes; .*EncodedImage\(data\)"),
    ],
)
def test_items_that_are_none(item, message):
    images = keyed([OTHER, item])
    next(images)
    with pytest.raises(TypeError, match=message):
        next(images)


@pytest.mark.parametrize("method", ["segment_many", "segment_stream"])
async def test_both_clients_take_every_form(either, image, tmp_path, method):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, image)
    call = getattr(either, method)
    for images, keys in (
        ([image, image], {0, 1}),
        ([path, str(path)], {path, str(path)}),
        ({"a": image, "b": path}, {"a", "b"}),
        ((image for _ in range(3)), {0, 1, 2}),
        ([("x", image), path, image], {"x", path, 2}),
    ):
        results = {key: result async for key, result in call(images)}
        assert results.keys() == keys
        assert all(isinstance(result, Segmentation) and len(result.objects) == 3 for result in results.values())
    for wrong in (image, str(path), None):
        with pytest.raises(TypeError, match="expected "):
            [entry async for entry in call(wrong)]
    with pytest.raises(TypeError, match="item 1 is of type int"):
        [entry async for entry in call([image, 5])]


async def test_wrong_collections_fail_at_the_call(serve, service, image):
    async with cellserve.AsyncClient(serve(service)) as client:
        with pytest.raises(TypeError, match="one array"):
            client.segment_many(image)

    async def frames():
        yield image

    with cellserve.Client(serve(service)) as client:
        for wrong in (image, frames()):
            with pytest.raises(TypeError, match=r"one array|use AsyncClient"):
                client.segment_stream(wrong)


async def test_bytes_are_no_image(either):
    with pytest.raises(cellserve.InvalidRequestError, match=r"EncodedImage\(data\)"):
        await either.segment(b"II*\0")
