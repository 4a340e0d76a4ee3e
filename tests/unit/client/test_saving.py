"""The registry of result files: words, names, libraries, what is written and in which order."""

from __future__ import annotations

import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import cellserve
import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve import InvalidRequestError
from cellserve.models import ModelVersion
from cellserve.results import Object, Segmentation, Timing
from cellserve.saving import (
    DEFAULT_WORDS,
    ENDINGS,
    SAVED,
    check_libraries,
    large_results,
    make_files,
    outputs_of,
    result_paths,
)

OUTPUTS = ["maps", "outlines", "flows", "cell_probability"]


@pytest.fixture
def path(tmp_path, image) -> Path:
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, image)
    return path


@pytest.fixture
def result(client, path):
    return client.segment(path, outputs=OUTPUTS)


def test_words_and_names():
    assert list(SAVED) == [
        *("masks", "png", "zarr", "seg", "rois", "geojson", "outlines", "csv", "parquet", "anndata", "overlay"),
        *("flows", "probability"),
    ]
    names = [path.name for paths in result_paths(Path("out/x"), SAVED).values() for path in paths]
    assert names == [
        *("x_probability.tif", "x_probability.png", "x_flows.tif", "x_flows.png", "x_overlay.png", "x_objects.h5ad"),
        *("x_objects.parquet", "x_objects.csv", "x_cp_outlines.txt", "x_objects.geojson", "x_rois.zip", "x_seg.npy"),
        *("x_cp_masks.ome.zarr", "x_cp_masks.png", "x_cp_masks.tif"),
    ]
    assert len(set(ENDINGS)) == len(ENDINGS) == len(names)
    assert list(result_paths(Path("x"), ["masks", "csv"])) == ["csv", "masks"], "label images last"
    with pytest.raises(ValueError, match="unknown: roi; known: masks, png"):
        result_paths(Path("x"), ["roi"])


def test_the_request_asks_for_what_the_files_need():
    assert outputs_of(DEFAULT_WORDS) == ()
    assert set(outputs_of(SAVED)) == set(OUTPUTS)
    assert outputs_of(["rois", "outlines", "masks"]) == ("outlines",)


def test_labels_of_a_store_are_in_the_store():
    assert result_paths(Path("out/x y"), ["zarr"])["zarr"] == (Path("out/x_y_cp_masks.ome.zarr"),)
    assert result_paths(Path("x"), ["zarr", "csv"], Path("a.zarr")) == {
        "csv": (Path("x_objects.csv"),),
        "zarr": (Path("a.zarr/labels/cellserve"),),
    }
    assert large_results(Path("x")) == {
        "overlay": Path("x_overlay.png"),
        "csv": Path("x_objects.csv"),
        "table": Path("x_objects.parquet"),
        "labels": Path("x_cp_masks.ome.zarr"),
    }


def test_each_word_writes_its_files(result, path, tmp_path):
    pq, zarr = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("zarr")
    anndata, roifile = pytest.importorskip("anndata"), pytest.importorskip("roifile")
    stem = tmp_path / "new" / "cells"
    written = result.save(stem, words=SAVED)
    assert written == [file for files in result_paths(stem, SAVED).values() for file in files]
    assert sorted(stem.parent.iterdir()) == sorted(written)
    labels, areas = result.labels, [entry.area for entry in result.objects]
    np.testing.assert_array_equal(tifffile.imread(f"{stem}_cp_masks.tif"), labels)
    np.testing.assert_array_equal(imagecodecs.imread(f"{stem}_cp_masks.png"), labels)
    np.testing.assert_array_equal(zarr.open_array(f"{stem}_cp_masks.ome.zarr/0", mode="r")[:], labels)
    seg = np.load(f"{stem}_seg.npy", allow_pickle=True).item()
    np.testing.assert_array_equal(seg["masks"], labels)
    assert (seg["filename"], seg["diameter"]) == (str(path), result.params.diameter)
    np.testing.assert_array_equal(seg["flows"][4], result.maps)
    assert [roi.name for roi in roifile.roiread(f"{stem}_rois.zip")] == ["1", "2", "3"]
    features = json.loads(Path(f"{stem}_objects.geojson").read_text())["features"]
    assert [feature["properties"]["measurements"]["area"] for feature in features] == areas
    first = Path(f"{stem}_cp_outlines.txt").read_text().splitlines()[0].split(",")
    assert [int(number) for number in first[:2]] == result.objects[0].outline[0, ::-1].tolist()
    assert pq.read_table(f"{stem}_objects.parquet")["area"].to_pylist() == areas
    table = anndata.read_h5ad(f"{stem}_objects.h5ad")
    assert table.X[:, list(table.var_names).index("area")].tolist() == areas
    centres = [list(entry.centroid[::-1]) for entry in result.objects]
    assert table.obsm["spatial"].tolist() == centres
    assert table.uns["spatialdata_attrs"]["region"] == "cells_cp_masks", "the name of the label image"
    again = {file: file.read_bytes() for file in written if file.is_file()}
    result.save(stem, words=list(SAVED))
    assert [file.name for file, data in again.items() if file.read_bytes() != data] == []


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("a.zarr", "zarr"),
        ("a.ome.zarr", "zarr"),
        ("a_seg.npy", "seg"),
        ("_seg.npy", "seg"),
        ("a.zip", "rois"),
        ("a_cp_masks.png", "png"),
        ("a.txt", "outlines"),
        ("a.parquet", "parquet"),
        ("a.h5ad", "anndata"),
        ("a_objects.geojson", "geojson"),
    ],
)
def test_an_ending_says_what_is_written(result, tmp_path, name, word):
    (tmp_path / "by_word").mkdir()
    (chosen,) = result.save(tmp_path / "by_word" / "a", words=[word])
    for _ in range(2):  # a folder of an earlier call is replaced, not filled
        assert result.save(tmp_path / name) == [tmp_path / name]
    if word == "zarr":
        names = [{str(file.relative_to(folder)) for file in folder.rglob("*")} for folder in (tmp_path / name, chosen)]
        assert names[0] == names[1]
    else:
        assert (tmp_path / name).read_bytes() == chosen.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_words_for_a_folder(result, tmp_path):
    (tmp_path / "there").mkdir()
    assert result.save(tmp_path / "there", words=["rois"]) == [tmp_path / "there" / "cells_rois.zip"]


def test_what_a_result_lacks(client, image, tmp_path):
    plain = client.segment(image)
    for word, output in (("outlines", "outlines"), ("flows", "flows"), ("probability", "cell_probability")):
        with pytest.raises(ValueError, match=rf"no {output}: ask for it with outputs=\['{output}'\]"):
            plain.save(tmp_path / "x", words=["masks", word])
    assert list(tmp_path.iterdir()) == [], "all files are made before the first is written"
    plain.save(tmp_path / "x_seg.npy")
    seg = np.load(tmp_path / "x_seg.npy", allow_pickle=True).item()
    assert (seg["flows"], seg["chan_choose"]) == ([[], [], [], [], [[]]], [0, 0])
    assert seg["filename"] == "x_cp_masks", "an array has no file"


@pytest.mark.parametrize(("channels", "expected"), [((0, 1), [1, 2]), ((1, -1), [2, 0]), ((-1, -1), [0, 0])])
def test_channels_of_cellpose(client, image, tmp_path, channels, expected):
    cells, nuclei = channels
    two = cellserve.Image(np.stack([image, image]), "CYX")
    client.segment(two, cytoplasm_channel=cells, nucleus_channel=nuclei).save(tmp_path / "x_seg.npy")
    assert np.load(tmp_path / "x_seg.npy", allow_pickle=True).item()["chan_choose"] == expected


def test_stacks_have_fewer_files(tmp_path):
    pytest.importorskip("anndata")
    stack = np.zeros((4, 40, 40), np.uint8)
    stack[1:3, 5:20, 5:20] = 200
    result = volume_of(stack)
    flat = [word for word, file in SAVED.items() if not file.stacks]
    assert flat == ["png", "rois", "geojson", "outlines", "flows", "probability"]
    for word in flat:
        with pytest.raises(ValueError, match=f"of a stack, for which no file of the kind '{word}'"):
            result.save(tmp_path / "x", words=[word])
    written = result.save(
        tmp_path / "x", stack, words=[word for word in SAVED if word not in flat and word != "overlay"]
    )
    assert len(written) == 6
    assert np.load(tmp_path / "x_seg.npy", allow_pickle=True).item()["masks"].shape == stack.shape
    image = cellserve.Image(stack, "ZYX")
    assert result.save(tmp_path / "x", image, words=["overlay"]) == [tmp_path / "x_overlay.png"]


def volume_of(stack):
    labels = (stack > 0).astype(np.uint16)
    cell = Object(1, (1, 5, 5, 3, 20, 20), (1.5, 12.0, 12.0), 450, 9.5, 0.9, 0.1)
    return Segmentation(
        label_image=labels,
        objects=(cell,),
        params=cellserve.SegmentParams(diameter=12),
        diameter_source="caller",
        model=ModelVersion("a", "a", "1", "ab"),
        timing=Timing(0, 0, 0, 0, 0, 0, 0, 1),
        request_id="",
        axes="ZYX",
    )


@pytest.mark.parametrize(("word", "library"), [("rois", "roifile"), ("anndata", "anndata"), ("zarr", "zarr")])
def test_a_missing_library_is_known_before_the_work(result, monkeypatch, tmp_path, word, library):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr("cellserve_contract.extras.missing_packages", lambda extra: [library])
    advice = rf"The result file '{word}' needs {library}, .*\n.*pip install 'cellserve\[formats\]'"
    with pytest.raises(InvalidRequestError, match=advice) as caught:
        check_libraries(["masks", word])
    assert caught.value.reason == "EXTRA_MISSING"
    check_libraries(["masks", "geojson", "seg"])
    with pytest.raises(InvalidRequestError, match="pip install"):
        result.save(tmp_path / "x", words=[word])


def test_what_a_format_does_not_hold(result, tmp_path):
    many = replace(result, label_image=np.full((2, 2), 70_000, np.uint32))
    with pytest.raises(InvalidRequestError, match="65,535 objects") as caught:
        many.save(tmp_path / "x", words=["masks", "png"])
    assert caught.value.reason == "IMAGE_TOO_LARGE"
    assert list(tmp_path.glob("x*")) == []


def test_labels_and_tables_of_an_image_in_a_store(result, tmp_path):
    zarr, pq = pytest.importorskip("zarr"), pytest.importorskip("pyarrow.parquet")
    store = tmp_path / "image.zarr"
    zarr.create_group(store, zarr_format=3)
    made = make_files(result, tmp_path / "cells", ["zarr", "parquet"], store=store)
    for path, write in made.items():
        write(path)
    assert list(made) == [tmp_path / "cells_objects.parquet", store / "labels" / "cellserve"]
    np.testing.assert_array_equal(zarr.open_array(store / "labels" / "cellserve" / "0", mode="r")[:], result.labels)
    assert set(pq.read_table(tmp_path / "cells_objects.parquet")["region"].to_pylist()) == {"cellserve"}


def test_files_of_archives_have_one_date(result, tmp_path):
    pytest.importorskip("roifile")
    result.save(tmp_path / "x.zip")
    assert {entry.date_time for entry in zipfile.ZipFile(tmp_path / "x.zip").infolist()} == {(1980, 1, 1, 0, 0, 0)}
