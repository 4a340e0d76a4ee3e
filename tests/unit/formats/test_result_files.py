"""Result files, each read back by a library of its own ecosystem: what is where, to the pixel."""

from __future__ import annotations

import io
import json
import time
import zipfile

import numpy as np
import pytest
import tifffile
from cellserve_contract.objects import Column, columns
from cellserve_formats import ImageError, PixelSize
from cellserve_formats.cellpose_outlines import cellpose_outlines_bytes, write_cellpose_outlines
from cellserve_formats.cellpose_seg import cellpose_seg_bytes, write_cellpose_seg
from cellserve_formats.geojson import geojson_bytes
from cellserve_formats.labels_tiff import labels_tiff_bytes
from cellserve_formats.table_csv import table_csv_bytes
from cellserve_postprocess import trace_outlines

roifile = pytest.importorskip("roifile")
shapely = pytest.importorskip("shapely")
anndata = pytest.importorskip("anndata")
ngff_zarr = pytest.importorskip("ngff_zarr")
pq = pytest.importorskip("pyarrow.parquet")

SQUARE, L_WITH_HOLE, TWO_PIECES, ONE_PIXEL = 1, 2, 3, 4
SIZE = PixelSize(0.5, 0.25, 2.0)
GREY = Column("mean_intensity-0", "float", "", "Mean of channel 0.")


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros((14, 16), np.uint16)
    labels[2:5, 5:10] = SQUARE
    labels[6:13, 1:4] = labels[10:13, 1:9] = L_WITH_HOLE
    labels[11, 2] = 0
    labels[7:9, 6:8] = labels[6, 11:14] = TWO_PIECES
    labels[0, 0] = ONE_PIXEL
    return labels


@pytest.fixture
def rows(labels) -> list[dict[str, float]]:
    """The table of the labels, as scikit-image defines the columns, and one column of measurements."""
    table = []
    for label in range(1, 5):
        pixels = np.argwhere(labels == label)
        table.append(
            {
                "label": label,
                **{f"bbox-{n}": int(value) for n, value in enumerate([*pixels.min(0), *(pixels.max(0) + 1)])},
                **{f"centroid-{n}": float(value) for n, value in enumerate(pixels.mean(0))},
                "area": len(pixels),
                "equivalent_diameter_area": 2 * (len(pixels) / np.pi) ** 0.5,
                "mean_probability": 0.5,
                "flow_error": 0.25,
                "mean_intensity-0": 100.5 * label,
            }
        )
    return table


def pixels_within(rings, shape) -> np.ndarray:
    """Pixels whose centres lie within an odd number of rings, of corners (x, y)."""
    y, x = np.indices(shape)
    centres = shapely.points(x + 0.5, y + 0.5)
    return sum(shapely.contains(shapely.Polygon(ring), centres).astype(int) for ring in rings) % 2 == 1


def test_rois_of_imagej_cover_the_pixels_of_their_objects(labels, tmp_path):
    from cellserve_formats.imagej_rois import write_imagej_rois

    path = tmp_path / "x_rois.zip"
    write_imagej_rois(path, labels)
    rois = {roi.name: roi for roi in roifile.roiread(path)}
    assert zipfile.ZipFile(path).namelist() == ["1.roi", "2.roi", "3.roi", "4.roi"], "names in the ROI Manager"
    for label in range(1, 5):
        roi = rois[str(label)]
        box = (roi.top, roi.left, roi.bottom, roi.right)
        found = np.argwhere(labels == label)
        assert box == (*found.min(0).tolist(), *(found.max(0) + 1).tolist())
        kind = roifile.ROI_TYPE.RECT if roi.composite else roifile.ROI_TYPE.TRACED
        assert (roi.roitype, roi.composite) == (kind, label in (L_WITH_HOLE, TWO_PIECES))
        assert not roi.subpixelresolution
        rings = roi.coordinates(multi=True) if roi.composite else [roi.coordinates()]
        np.testing.assert_array_equal(pixels_within(rings, labels.shape), labels == label)
    assert rois["1"].coordinates().tolist() == [[5, 2], [10, 2], [10, 5], [5, 5]], "corners (x, y) of the pixels"


def test_rois_end_where_imagej_ends():
    from cellserve_formats.imagej_rois import LONGEST_SIDE, imagej_rois_bytes

    wide = np.zeros((1, LONGEST_SIDE), np.uint16)
    wide[0, -40000:] = 1
    ((name, data),) = zip_entries(imagej_rois_bytes(wide))
    roi = roifile.ImagejRoi.frombytes(data)
    assert name == "1.roi"
    assert roi.coordinates().max(axis=0).tolist() == [LONGEST_SIDE, 1]
    assert roi.coordinates().min(axis=0).tolist() == [LONGEST_SIDE - 40000, 0]
    with pytest.raises(ImageError, match=r"60,535 pixels far, the image has 1 x 60536; write GeoJSON"):
        imagej_rois_bytes(np.zeros((1, LONGEST_SIDE + 1), np.uint16))


def zip_entries(data: bytes) -> list[tuple[str, bytes]]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    return [(name, archive.read(name)) for name in archive.namelist()]


def test_geojson_covers_the_pixels_of_its_objects(labels, rows):
    collection = json.loads(geojson_bytes(labels, rows, SIZE))
    y, x = np.indices(labels.shape)
    for label, feature in enumerate(collection["features"], 1):
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.is_valid
        np.testing.assert_array_equal(shapely.contains(shape, shapely.points(x + 0.5, y + 0.5)), labels == label)
        assert feature["properties"]["measurements"] == {
            name: value for name, value in rows[label - 1].items() if name != "label"
        }


def test_outlines_are_border_pixels_x_before_y(labels, tmp_path):
    path = tmp_path / "x_cp_outlines.txt"
    write_cellpose_outlines(path, trace_outlines(labels))
    lines = path.read_text().splitlines()
    points = [np.array(line.split(","), int).reshape(-1, 2) for line in lines]
    assert len(points) == 4
    assert {tuple(point) for point in points[0].tolist()} == {
        (x, y) for y in (2, 3, 4) for x in range(5, 10) if y != 3 or x in (5, 9)
    }
    assert points[3].tolist() == [[0, 0]]
    for label, line in enumerate(points, 1):
        assert (labels[line[:, 1], line[:, 0]] == label).all()
    assert cellpose_outlines_bytes([np.zeros((0, 2), np.int32), np.array([[1, 2]])]) == b"\n2,1\n"


def test_seg_has_what_cellpose_keeps(labels, tmp_path):
    path = tmp_path / "x_seg.npy"
    maps = np.random.default_rng(3).normal(size=(3, *labels.shape)).astype(np.float32)
    write_cellpose_seg(path, labels, filename="/data/x.tif", diameter=4.5, maps=maps, channels=(2, 3))
    content = np.load(path, allow_pickle=True).item()
    np.testing.assert_array_equal(content["masks"], labels)
    border = {(y, x) for y in (2, 3, 4) for x in range(5, 10) if y != 3 or x in (5, 9)}
    assert set(zip(*np.nonzero(content["outlines"] == SQUARE), strict=True)) == border
    assert content["outlines"][0, 0] == ONE_PIXEL, "the edge of the image is a border, too"
    assert content["outlines"][10, 2] == L_WITH_HOLE, "as is that of a hole"
    assert (content["masks"].dtype, content["outlines"].dtype) == (np.uint16, np.uint16)
    assert (content["chan_choose"], content["filename"]) == ([2, 3], "/data/x.tif")
    assert (content["diameter"], content["est_diam"], content["ismanual"].tolist()) == (4.5, 4.5, [False] * 4)
    picture, probability, empty, positions, planes = content["flows"]
    assert (picture.shape, picture.dtype) == ((1, *labels.shape, 3), np.uint8)
    assert (probability.min(), probability.max(), empty.any(), positions) == (0, 255, False, [])
    np.testing.assert_array_equal(planes, maps)


def test_seg_of_a_stack(labels):
    stack = np.stack([labels, np.zeros_like(labels), np.where(labels == SQUARE, 70000, 0)])
    maps = np.zeros((4, *stack.shape), np.float32)
    maps[0, 2], maps[1], maps[3, 1] = 5, 5, 9
    content = np.load(
        io.BytesIO(cellpose_seg_bytes(stack, filename="x", diameter=4, maps=maps)), allow_pickle=True
    ).item()
    assert (content["masks"].dtype, content["masks"].max(), content["masks"].shape) == (np.uint32, 70000, stack.shape)
    assert content["outlines"][0, 3, 6] == 0
    assert content["outlines"][2, 2, 6] == 70000
    picture, probability, along_z, positions, planes = content["flows"]
    assert (picture.shape, positions, planes.shape) == ((*stack.shape, 3), [], maps.shape)
    assert picture[0, 0, 0].tolist() == [0, 191, 191], "down is cyan"
    assert (probability[0].max(), probability[1].min()) == (0, 255)
    assert (along_z[0, 0, 0], along_z[2, 0, 0]) == (127, 190)
    without = np.load(io.BytesIO(cellpose_seg_bytes(labels, filename="x", diameter=4)), allow_pickle=True).item()
    assert without["flows"] == [[], [], [], [], [[]]]


@pytest.mark.parametrize("table", [None, (*columns(), GREY)])
def test_anndata_has_measurements_centroids_and_the_label_image(rows, tmp_path, table):
    from cellserve_formats.table_anndata import write_table_anndata

    path = tmp_path / "x_objects.h5ad"
    write_table_anndata(path, rows, "YX", SIZE, region="x_cp_masks", table=table)
    data = anndata.read_h5ad(path)
    names = ["area", "equivalent_diameter_area", "mean_probability", "flow_error", "mean_intensity-0"]
    assert list(data.var_names) == names[: 4 if table is None else 5]
    assert (data.X.dtype, data.X.shape) == (np.float64, (4, data.n_vars))
    np.testing.assert_array_equal(data.X, [[row[name] for name in data.var_names] for row in rows])
    assert data.var.loc["area", "unit"] == "pixels"
    assert data.obs["label"].tolist() == [1, 2, 3, 4]
    assert list(data.obs_names) == ["1", "2", "3", "4"]
    assert data.obs["region"].cat.categories.tolist() == ["x_cp_masks"]
    assert data.obs.iloc[0][["bbox-0", "bbox-1", "bbox-2", "bbox-3"]].tolist() == [2, 5, 5, 10]
    assert data.obsm["spatial"][0].tolist() == [7.0, 3.0], "x before y"
    assert data.uns["spatialdata_attrs"] == {"region": "x_cp_masks", "region_key": "region", "instance_key": "label"}
    assert data.uns["pixel_size_um"] == {"y": 0.5, "x": 0.25, "z": 2.0}
    assert data.uns["axes"] == "YX"


def test_anndata_of_a_volume_and_without_objects(tmp_path):
    from cellserve_formats.table_anndata import write_table_anndata

    row = {column.name: number for number, column in enumerate(columns("ZYX"), 1)}
    write_table_anndata(tmp_path / "a.h5ad", [row], "ZYX", region="a")
    centre = [row[f"centroid-{axis}"] for axis in (2, 1, 0)]
    assert anndata.read_h5ad(tmp_path / "a.h5ad").obsm["spatial"].tolist() == [centre]
    write_table_anndata(tmp_path / "b.h5ad", [], region="b")
    empty = anndata.read_h5ad(tmp_path / "b.h5ad")
    assert (empty.shape, empty.obsm["spatial"].shape) == ((0, 4), (0, 2))
    assert "spatialdata_attrs" not in empty.uns, "spatialdata refuses a link without rows"
    with pytest.raises(KeyError, match="bbox-0"):
        write_table_anndata(tmp_path / "c.h5ad", [{"label": 1}], region="c")


def test_parquet_and_csv_have_the_columns_that_are_asked_for(rows, tmp_path):
    from cellserve_formats.table_parquet import write_table_parquet

    table = (*columns(), GREY)
    write_table_parquet(tmp_path / "x.parquet", rows, "YX", SIZE, region="x_cp_masks", table=table)
    read = pq.read_table(tmp_path / "x.parquet")
    assert read.column_names == [*rows[0], "region"]
    assert read.drop_columns(["region"]).to_pylist() == rows
    assert read.schema.field("mean_intensity-0").metadata[b"meaning"] == b"Mean of channel 0."
    attributes = json.loads(read.schema.metadata[b"PANDAS_ATTRS"])
    assert attributes["spatialdata_attrs"]["region"] == "x_cp_masks"
    header, first, *_ = table_csv_bytes(rows, "YX", SIZE, table).decode().splitlines()
    assert header.split(",") == [*rows[0], "pixel_size_y_um", "pixel_size_x_um"]
    assert first.endswith(",100.5,0.5,0.25")


@pytest.mark.parametrize("axes", ["YX", "ZYX"])
def test_labels_as_ome_zarr(labels, tmp_path, axes, monkeypatch):
    from cellserve_formats import labels_zarr

    monkeypatch.setattr(labels_zarr, "LABEL_CHUNKS", {2: (8, 8), 3: (2, 8, 8)})
    values = labels if axes == "YX" else np.stack([labels, labels * 0, labels])
    path = tmp_path / "x_cp_masks.ome.zarr"
    labels_zarr.write_labels_zarr(path, values, SIZE, axes)
    (image, *_) = ngff_zarr.from_ngff_zarr(path).images
    np.testing.assert_array_equal(np.asarray(image.data), values)
    assert tuple(image.dims) == tuple(axes.lower())
    assert image.scale == {axis: getattr(SIZE, axis) for axis in axes.lower()}
    assert set(image.translation.values()) == {0.0}
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_labels_of_an_ome_zarr_image_lie_in_its_folder(labels, tmp_path):
    from cellserve_formats.labels_zarr import write_labels_zarr
    from cellserve_formats.ome_zarr import OmeZarrWriter

    image = tmp_path / "image.zarr"
    writer = OmeZarrWriter(image, "YX", labels.shape, "u2", chunks=(16, 16), version="0.4")
    writer.finish()
    write_labels_zarr(image / "labels" / "cellserve", labels, image=image)
    found = ngff_zarr.from_ngff_zarr(image / "labels" / "cellserve", version="0.4").images[0]
    np.testing.assert_array_equal(np.asarray(found.data), labels)
    assert json.loads((image / "labels" / ".zattrs").read_text())["labels"] == ["cellserve"]
    with pytest.raises(ValueError, match="where the labels of the image belong"):
        write_labels_zarr(tmp_path / "cellserve", labels, image=image)


def test_equal_results_make_equal_bytes(labels, rows, tmp_path):
    """A second later, and in another folder."""
    from cellserve_formats.imagej_rois import imagej_rois_bytes
    from cellserve_formats.labels_zarr import write_labels_zarr
    from cellserve_formats.table_anndata import table_anndata_bytes
    from cellserve_formats.table_parquet import write_table_parquet

    maps = np.ones((3, *labels.shape), np.float32)

    def files(folder) -> dict[str, bytes]:
        write_table_parquet(folder / "x.parquet", rows, region="x")
        write_labels_zarr(folder / "x.ome.zarr", labels)
        made = {
            "rois": imagej_rois_bytes(labels),
            "seg": cellpose_seg_bytes(labels, filename="x.tif", diameter=4, maps=maps),
            "outlines": cellpose_outlines_bytes(trace_outlines(labels)),
            "anndata": table_anndata_bytes(rows, region="x"),
            "geojson": geojson_bytes(labels, rows),
            "masks": labels_tiff_bytes(labels),
        }
        written = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return made | {str(path.relative_to(folder)): path.read_bytes() for path in written}

    first = files(tmp_path / "a")
    time.sleep(2.1)  # dates of zip files have a step of two seconds
    second = files(tmp_path / "b")
    assert len(first) > 8
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(first["masks"])), labels)
