"""Results as pictures, tables, files and pages."""

from __future__ import annotations

import base64
import builtins
import gc
import json
import pickle
import re
import sys
import types
import weakref
from html.parser import HTMLParser

import cellserve
import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve import EncodedImage, Image, PixelSize, draw_overlay, read_image
from cellserve.results import DIAMETER_SOURCES
from cellserve_contract.objects import columns
from cellserve_formats.png import png_bytes

MAPS = ["flows", "cell_probability"]
LEAST = ["_overlay.png", "_objects.csv", "_cp_masks.tif"]


@pytest.fixture
def result(client, image):
    return client.segment(image, diameter=30)


class Page(HTMLParser):
    """What a page shows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.pictures: list[np.ndarray] = []
        self.feed(html)
        assert self.open == [], "every tag is closed"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            kind, _, data = dict(attrs)["src"].partition("base64,")
            assert kind == "data:image/png;"
            self.pictures.append(imagecodecs.png_decode(base64.b64decode(data)))
        elif tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_table(result):
    assert list(result.table) == [column.name for column in columns()]
    np.testing.assert_array_equal(result.table["label"], [1, 2, 3])
    np.testing.assert_array_equal(result.table["area"], np.bincount(result.labels.ravel())[1:])
    assert {array.dtype.name for array in result.table.values()} == {"int64", "float64"}
    assert result.table["centroid-1"][0] == result.objects[0].centroid[1]


def test_table_without_objects(client, image):
    table = client.segment(np.zeros_like(image)).table
    assert {(len(array), array.dtype.kind) for array in table.values()} == {(0, "i"), (0, "f")}


def test_dataframe(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", types.SimpleNamespace(DataFrame=lambda columns: ("frame", columns)))
    kind, columns_given = result.to_dataframe()
    assert kind == "frame"
    assert columns_given.keys() == result.table.keys()
    np.testing.assert_array_equal(columns_given["area"], result.table["area"])


def test_dataframe_without_pandas(result, monkeypatch):
    def without_pandas(name, *args, real=builtins.__import__, **kwargs):
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'")
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(ModuleNotFoundError, match="to_dataframe needs pandas: pip install pandas"):
        result.to_dataframe()


async def test_a_single_result_refers_to_its_image(either, image, tmp_path):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, image)
    expected = draw_overlay(Image(image, "YX"), (await either.segment(image)).labels)
    for given in (image, Image(image, "YX"), path, str(path), EncodedImage(png_bytes(image)), image.tolist()):
        np.testing.assert_array_equal((await either.segment(given)).overlay(), expected)
    stack = np.stack([image, image[::-1]])
    result = await either.segment(stack, axes="CYX", cytoplasm_channel=1)
    np.testing.assert_array_equal(result.overlay(), draw_overlay(Image(stack, "CYX"), result.labels, 1, -1))
    assert (await either.segment(path)).source.image is path, "files are not kept in memory"


@pytest.mark.parametrize("method", ["segment_many", "segment_stream"])
async def test_results_of_many_keep_paths_and_no_pixels(either, image, tmp_path, method):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, image)
    results = {key: result async for key, result in getattr(either, method)([path, image, ("a", Image(image, "YX"))])}
    expected = draw_overlay(Image(image, "YX"), results[path].labels)
    np.testing.assert_array_equal(results[path].overlay(), expected)
    for key in (1, "a"):
        assert results[key].source.image is None
        with pytest.raises(ValueError, match="does not hold its image: pass the image"):
            results[key].overlay()
        np.testing.assert_array_equal(results[key].overlay(image), expected)
        np.testing.assert_array_equal(results[key].overlay(path), expected)


@pytest.mark.parametrize("method", ["segment_many", "segment_stream"])
async def test_kept_results_keep_no_images(either, image, method):
    sent = []

    def images():
        for _ in range(6):
            pixels = image.copy()
            sent.append(weakref.ref(pixels))
            yield pixels

    results = [entry async for entry in getattr(either, method)(images(), concurrency=2)]
    gc.collect()
    assert len(results) == 6
    assert [ref() for ref in sent] == [None] * 6


def test_options_of_the_overlay(result, image):
    picture = result.overlay(numbers=True, filled=True, scale=2)
    expected = draw_overlay(Image(image, "YX"), result.labels, numbers=True, filled=True, scale=2)
    np.testing.assert_array_equal(picture, expected)
    assert (picture.shape, picture.dtype) == ((192, 256, 3), np.uint8)


def test_an_image_of_another_size(result, image):
    with pytest.raises(ValueError, match="the image has 50 x 128 pixels, the result 96 x 128"):
        result.overlay(image[:50])


def test_a_result_without_labels_has_no_overlay(client, image):
    result = client.segment(image, omit_labels=True)
    with pytest.raises(ValueError, match="omit_labels"):
        result.overlay()
    assert "img" not in Page(result._repr_html_()).tags


def test_files_by_their_endings(client, image, tmp_path):
    result = client.segment(Image(image, "YX", PixelSize(0.5, 0.25)), outputs=MAPS)
    for name, pixels in (
        ("a.tif", result.labels),
        ("a.TIFF", result.labels),
        ("a.png", result.labels),
        ("a_overlay.png", result.overlay()),
        ("a_flows.tif", result.flows),
        ("a_flows.png", cellserve.draw_flows(result.flows)),
        ("a_probability.tif", result.cell_probability),
        ("a_probability.png", cellserve.draw_cell_probability(result.cell_probability)),
    ):
        assert result.save(tmp_path / name) == [tmp_path / name]
        written = read_image(tmp_path / name)
        np.testing.assert_array_equal(written.pixels, pixels)
        assert written.pixel_size == PixelSize(0.5, 0.25)
    result.save(str(tmp_path / "a.npy"))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), result.labels)
    result.save(tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert (len(lines), lines[1].split(",")[-2:]) == (4, ["0.5", "0.25"])
    result.save(tmp_path / "a.geojson")
    collection = json.loads((tmp_path / "a.geojson").read_text())
    assert [feature["properties"]["measurements"]["area"] for feature in collection["features"]] == [
        entry.area for entry in result.objects
    ]


@pytest.mark.parametrize(
    ("options", "endings"),
    [
        ({}, LEAST),
        (
            {"outputs": MAPS},
            ["_probability.tif", "_probability.png", "_flows.tif", "_flows.png", *LEAST],
        ),
        ({"omit_labels": True}, ["_objects.csv"]),
    ],
)
def test_a_name_without_an_ending_writes_all_results(client, image, tmp_path, options, endings):
    result = client.segment(image, **options)
    expected = [tmp_path / "new" / f"cells{ending}" for ending in endings]
    assert result.save(tmp_path / "new" / "cells") == expected
    assert sorted((tmp_path / "new").iterdir()) == sorted(expected)


async def test_without_the_image_there_is_no_overlay_file(either, image, tmp_path):
    ((_, result),) = [entry async for entry in either.segment_many([image])]
    assert result.save(tmp_path / "cells") == [tmp_path / "cells_objects.csv", tmp_path / "cells_cp_masks.tif"]
    assert tmp_path / "cells_overlay.png" in result.save(tmp_path / "cells", image)
    with pytest.raises(ValueError, match="pass the image"):
        result.save(tmp_path / "cells_overlay.png")


def test_files_in_a_folder_are_named_after_the_image(client, image, tmp_path):
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(path, image)
    (tmp_path / "there").mkdir()
    result = client.segment(path)
    for folder in (tmp_path / "there", f"{tmp_path}/new/"):
        assert {file.name for file in result.save(folder)} == {
            "cells.ome_overlay.png",
            "cells.ome_objects.csv",
            "cells.ome_cp_masks.tif",
        }
    with pytest.raises(ValueError, match=r"the image has no name: add a name, such as .*there/cells"):
        client.segment(image).save(tmp_path / "there")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.jpg", r"the ending .jpg is unknown; known: .*\.tif, .*\.csv"),
        ("a_flows.tif", r"no flows: ask for it with outputs=\['flows'\]"),
        ("a_probability.png", "no cell_probability: ask for it"),
    ],
)
def test_files_that_cannot_be_made(result, tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        result.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_page(result):
    page = Page(result._repr_html_())
    (picture,) = page.pictures
    np.testing.assert_array_equal(picture, result.overlay(numbers=True, scale=4))
    text = "\n".join(page.texts)
    for expected in ("3 objects in 96 x 128 pixels", "diameter parameter 30.0 pixels (as given)", "model generalist"):
        assert expected in text
    assert page.tags.count("tr") == 4
    assert {"1", "20.0", f"{result.objects[0].area}"} <= set(page.texts)


def test_a_page_of_a_large_image_has_a_small_picture(client):
    y, x = np.mgrid[:700, :2100]
    pixels = (((y % 20 - 10) ** 2 + (x % 20 - 10) ** 2) < 50).astype(np.uint8)
    html = client.segment(pixels)._repr_html_()
    page = Page(html)
    assert page.pictures[0].shape == (213, 640, 3)
    assert page.tags.count("tr") == 11
    assert re.search(r"and 3,?665 more: result.table has all", html.replace("&#x27;", "'"))
    assert len(html) < 1_000_000


def test_a_page_escapes_what_it_shows(client, image):
    result = client.segment(image)
    evil = "<script>alert('x')</script> & \"quotes\""
    model = cellserve.ModelVersion("f", evil, "1", "00")
    warning = cellserve.ResultWarning("kind", evil, evil, {})
    values = {name: getattr(result, name) for name in result.__dataclass_fields__}
    changed = cellserve.Segmentation(**values | {"model": model, "warnings": (warning,)})
    page = Page(changed._repr_html_())
    assert "script" not in page.tags
    assert sum(text.count(evil) for text in page.texts) == 3


def test_a_page_whose_image_is_gone_shows_the_objects_on_black(client, image, tmp_path):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, image)
    result = client.segment(path)
    for change in (path.unlink, lambda: tifffile.imwrite(path, image[:50])):
        change()
        (picture,) = Page(result._repr_html_()).pictures
        assert picture.shape == (384, 512, 3)
        assert picture.any()
        assert not picture[0].any()


def test_short_forms(client, image):
    result = client.segment(image, diameter=30.123)
    assert repr(result) == ("<Segmentation of 96 x 128 pixels: 3 objects, diameter 30.1, model generalist version 1>")
    assert repr(result.objects[0]) == (
        "<Object 1 at (20.0, 20.0): 253 pixels, diameter 17.9, probability 0.97, flow error 0.012>"
    )
    assert repr(client.estimate_diameter(image)) == (
        f"<DiameterEstimate: 30.1 pixels, {DIAMETER_SOURCES['training_diameter']}>"
    )
    models = client.models()
    assert repr(models) == "<ModelList: generalist (default)>"
    assert repr(models.models[0]) == ("<Model generalist: Cells and nuclei. Working diameter 30 pixels, ready>")
    assert {"generalist (default)", "yes", "30", "cytoplasm, nucleus"} <= set(Page(models._repr_html_()).texts)


def test_results_survive_pickling(result):
    copy = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(copy.overlay(), result.overlay())
    assert copy.objects == result.objects


def test_public_writers(result, image, tmp_path):
    rows = [entry.row() for entry in result.objects]
    size = PixelSize(1, 1)
    for write, arguments in (
        (cellserve.write_labels_tiff, (result.labels, size)),
        (cellserve.write_labels_png, (result.labels, size)),
        (cellserve.write_table_csv, (rows,)),
        (cellserve.write_geojson, (result.labels, rows)),
        (cellserve.write_overlay, (Image(image, "YX"), result.labels)),
    ):
        write(str(tmp_path / write.__name__), *arguments)
        assert (tmp_path / write.__name__).stat().st_size > 0
    assert {name for name in cellserve.__all__ if name.startswith("write_")} == {
        f"write_{name}"
        for name in (
            *("labels_tiff", "labels_png", "table_csv", "geojson", "overlay", "flows_tiff", "flows_png"),
            *("cell_probability_tiff", "cell_probability_png"),
        )
    }
