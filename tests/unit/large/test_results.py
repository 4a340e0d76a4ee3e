"""The results of a run: files, names, pictures, and what is there after a failure."""

import csv
import errno

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from cellserve.saving import large_results, result_stem
from cellserve_contract.params import SegmentParams
from cellserve_formats import PixelSize
from cellserve_formats.lazy import open_image
from cellserve_formats.ome_zarr import OmeZarrWriter
from cellserve_large import results
from cellserve_large.found import Found
from cellserve_large.picture import picture_bytes
from cellserve_large.results import Results
from cellserve_postprocess import measure_objects

from .servers import VERSION


def found(labels, **params):
    """What was found, by its label image."""
    logit = np.full(labels.shape, 3, np.float32)
    table = measure_objects(labels, logit, np.linspace(0, 0.3, int(labels.max()), dtype=np.float32))
    params = {"cytoplasm_channel": 0, "nucleus_channel": -1} | params
    return Found(
        table,
        labels.shape,
        labels.dtype,
        lambda box: labels[box.slices],
        SegmentParams(**params),
        "caller",
        VERSION,
        (),
    )


def squares(shape, side=9):
    """Squares in every other field of a board."""
    labels = np.zeros(shape, np.uint16)
    for number, corner in enumerate(np.ndindex(*(length // (2 * side) for length in shape)), 1):
        labels[tuple(slice(2 * side * at + 2, 2 * side * at + 2 + side) for at in corner)] = number
    return labels


def written(tmp_path, labels, source, out=None, **options):
    with open_image(source, axes="ZYX"[-labels.ndim :], pixel_size=PixelSize(0.5, 0.5, 2)) as image:
        place = Results.of(image, None, out or tmp_path / "some", csv=True, overlay=True)
        return place, place.write(image, found(labels, **options), 2, None)


def test_labels_and_tables_agree(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_ROWS", 7)
    labels = squares((150, 1100))
    progress = []
    with open_image(labels.astype(np.float32)) as image:
        place = Results.of(image, None, tmp_path / "out" / "some", csv=True, overlay=False)
        assert place.write(image, found(labels), 2, lambda *told: progress.append(told)) == place.csv
    np.testing.assert_array_equal(zarr.open_array(place.labels / "0")[:], labels)
    assert zarr.open_array(place.labels / "1").shape == (75, 550)
    assert progress == [("write", 1, 2), ("write", 2, 2)]
    table = pq.read_table(place.table)
    rows = list(csv.DictReader(place.csv.open()))
    assert len(table) == len(rows) == labels.max()
    for name in ("label", "bbox-1", "centroid-0", "area", "flow_error"):
        np.testing.assert_allclose(table[name], [float(row[name]) for row in rows], rtol=1e-6)
    assert not (tmp_path / "out" / "some_overlay.png").exists()
    assert set(table["region"].to_pylist()) == {"some_cp_masks"}


def test_a_table_of_very_many_rows_is_parquet_alone(tmp_path, monkeypatch):
    written(tmp_path, squares((40, 60)), np.zeros((40, 60)))
    assert (tmp_path / "some_objects.csv").exists()
    monkeypatch.setattr(results, "MOST_CSV_ROWS", 3)
    place, csv_path = written(tmp_path, squares((40, 60)), np.zeros((40, 60)))
    assert csv_path is None
    assert len(pq.read_table(place.table)) == 6
    assert not place.csv.exists()


def test_an_image_without_objects_has_results(tmp_path):
    place, csv_path = written(tmp_path, np.zeros((30, 40), np.uint16), np.zeros((30, 40)))
    assert len(pq.read_table(place.table)) == 0
    assert len(csv_path.read_text().splitlines()) == 1
    assert place.overlay.exists()


def test_labels_of_an_ome_zarr_image_go_into_its_folder(tmp_path):
    path = tmp_path / "plate 1.ome.zarr"
    with pytest.raises(ValueError, match="characters"):
        OmeZarrWriter(path, "YX", (30, 40), np.uint8, chunks=(30, 40))
    path = tmp_path / "plate.ome.zarr"
    writer = OmeZarrWriter(path, "YX", (30, 40), np.uint8, chunks=(30, 40), version="0.4")
    writer.write((slice(0, 30), slice(0, 40)), np.zeros((30, 40), np.uint8))
    writer.finish()
    labels = squares((30, 40))
    with open_image(path) as image:
        place = Results.of(image, path, None, csv=False, overlay=False)
        place.write(image, found(labels), 1, None)
    np.testing.assert_array_equal(zarr.open_array(path / "labels" / "cellserve" / "0", mode="r")[:], labels)
    assert zarr.open_group(path / "labels", mode="r").attrs["labels"] == ["cellserve"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["plate.ome.zarr", "plate_objects.parquet"]


def test_names_that_readers_of_ome_zarr_refuse_are_changed_for_the_label_image_alone(tmp_path):
    paths = large_results(tmp_path / result_stem(tmp_path / "- Zelle (1) ü.tif"))
    assert paths["table"].name == "- Zelle (1) ü_objects.parquet"
    assert paths["labels"].name == "__Zelle__1____cp_masks.ome.zarr"
    assert [result_stem(tmp_path / name) for name in ("a.ome.zarr", "a.zarr", "a.svs", "a.ome.tif", ".zarr")] == [
        *("a", "a", "a", "a.ome", ".zarr")
    ]


@pytest.mark.parametrize("shape", [(4100, 900), (50, 70)])
def test_the_picture_is_a_smaller_copy(shape, monkeypatch):
    labels = squares(shape, 40 if shape[0] > 1000 else 9)
    pixels = np.where(labels > 0, 200, 10).astype(np.uint8)
    with open_image(pixels) as image:
        picture = imagecodecs.png_decode(picture_bytes(image, found(labels)))
    step = 3 if shape[0] > 1000 else 1
    assert picture.shape[:2] == tuple(-(-length // step) for length in shape)
    inside = (labels[:: 1 if step == 1 else step, ::step] > 0).sum() / picture[..., 0].size
    assert abs((picture.min(axis=2) > 100).mean() - inside) < 0.15, "bright squares on a dark ground"
    outlines = (picture.max(axis=2) != picture.min(axis=2)).mean()
    assert 0.01 < outlines < 0.3


def test_pixels_of_the_copy_are_means():
    from cellserve_large.picture import _mean

    values = np.random.default_rng(0).random((7, 8))
    means = _mean(values, (3, 4))
    for row, column in np.ndindex(means.shape):
        expected = values[3 * row : 3 * row + 3, 4 * column : 4 * column + 4].mean()
        assert means[row, column] == pytest.approx(expected, rel=1e-6)


def test_a_volume_has_a_montage(tmp_path):
    labels = squares((40, 60, 70))
    place, _ = written(tmp_path, labels, np.zeros(labels.shape, np.uint8), stack_mode="volume", anisotropy=4.0)
    assert imagecodecs.imread(place.overlay).shape[2] == 3
    assert zarr.open_array(place.labels / "0").shape == labels.shape
    assert "bbox-5" in pq.read_table(place.table).column_names


def test_a_full_disk_leaves_no_label_image_that_looks_whole(tmp_path, monkeypatch):
    def full(self, region, values):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(OmeZarrWriter, "write", full)
    with pytest.raises(OSError, match="No space"):
        written(tmp_path, squares((40, 60)), np.zeros((40, 60)))
    assert not (tmp_path / "some_cp_masks.ome.zarr").exists()
    monkeypatch.undo()
    place, _ = written(tmp_path, squares((40, 60)), np.zeros((40, 60)))
    assert zarr.open_array(place.labels / "0")[:].max() == 6
