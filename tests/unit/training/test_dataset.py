"""Finding, reading and refusing labelled images."""

import logging

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_evaluation.sample import Kind
from cellserve_training.dataset import read_sample, read_samples
from cellserve_training.pairs import DataError, LabelSource, find_pairs


def write_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(pixels))


@pytest.fixture
def image(rng) -> np.ndarray:
    return rng.integers(0, 50, (40, 50), dtype=np.uint8)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros((40, 50), np.uint16)
    labels[5:15, 5:15] = 3
    labels[20:30, 30:40] = 7
    return labels


def write_labels(path, labels):
    if path.suffix == ".npy":
        np.save(path, labels)
    elif path.suffix == ".png":
        write_png(path, labels)
    else:
        tifffile.imwrite(path, labels)


@pytest.fixture
def one(tmp_path, image, labels):
    """Reads the only labelled image of a folder."""

    def read(split=None):
        (pair,) = find_pairs(tmp_path, split)
        return read_sample(pair)

    return read


def test_pair_of_png_files(tmp_path, image, labels, one):
    image[labels > 0] += 100
    write_png(tmp_path / "a_img.png", image)
    write_png(tmp_path / "a_masks.png", labels)
    sample = one()
    assert (sample.name, sample.group, sample.kind) == ("a", tmp_path.name, Kind.FLUORESCENCE)
    np.testing.assert_array_equal(sample.image, image[None])
    np.testing.assert_array_equal(sample.labels, np.searchsorted([0, 3, 7], labels))
    assert sample.labels.dtype == np.uint16


def test_labels_with_a_palette_are_its_indices(tmp_path, image, labels, one):
    table = np.random.default_rng(0).integers(0, 65536, (3, 256), np.uint16)
    write_png(tmp_path / "a_img.png", image)
    tifffile.imwrite(tmp_path / "a_masks.tif", labels.astype(np.uint8), colormap=table)
    np.testing.assert_array_equal(one().labels, np.searchsorted([0, 3, 7], labels))


@pytest.mark.parametrize("image_name", ["a_img.tif", "a.tif"])
@pytest.mark.parametrize("labels_name", ["{stem}_masks.tif", "{stem}_seg.npy", "{stem}_masks.npy"])
def test_cellpose_training_folder(tmp_path, image, labels, one, image_name, labels_name):
    planes = np.stack([image, image]).astype(np.uint16)
    tifffile.imwrite(tmp_path / image_name, planes, metadata={"axes": "CYX"})
    path = tmp_path / labels_name.format(stem=image_name.removesuffix(".tif"))
    if path.name.endswith("_seg.npy"):
        content = {"masks": labels, "outlines": labels, "filename": "x", "flows": [np.zeros(3), [1]], "est_diam": 30.0}
        np.save(path, content, allow_pickle=True)
    elif path.suffix == ".npy":
        np.save(path, labels)
    else:
        tifffile.imwrite(path, labels)
    sample = one()
    assert sample.image.shape == (2, 40, 50)
    assert sample.labels.max() == 2


@pytest.mark.parametrize(
    ("image_name", "labels_name"),
    [
        ("a_img.tif", "a_masks.TIF"),
        ("A_IMG.TIF", "a_masks.tif"),
        ("a.TIFF", "A_MASKS.tiff"),
        ("a.ome.tif", "a_masks.ome.tif"),
        ("a.ome.tif", "a.ome_masks.tif"),
        ("a_img.btf", "a_Masks.Png"),
        ("a_img.tif", "a_masks.NPY"),
        ("A.tif", "a_SEG.npy"),
    ],
)
def test_names_in_another_case_and_other_endings(tmp_path, image, labels, one, image_name, labels_name):
    tifffile.imwrite(tmp_path / image_name, image, ome=False)
    path = tmp_path / labels_name
    if path.suffix.lower() == ".npy":
        with path.open("wb") as file:
            np.save(file, {"masks": labels} if "SEG" in labels_name else labels, allow_pickle=True)
    elif path.suffix == ".Png":
        write_png(path, labels)
    else:
        tifffile.imwrite(path, labels, ome=False)
    sample = one()
    assert sample.name.lower() == "a"
    assert sample.labels.max() == 2


def test_names_that_differ_in_case_alone_stay_apart(tmp_path, image, labels):
    for name, of in (("a", labels), ("A", labels.T)):
        tifffile.imwrite(tmp_path / f"{name}.tif", image if of is labels else image.T)
        tifffile.imwrite(tmp_path / f"{name}_masks.tif", of)
    pairs = find_pairs(tmp_path)
    assert [(pair.image.stem, pair.labels.stem) for pair in pairs] == [("A", "A_masks"), ("a", "a_masks")]
    assert len(read_samples(pairs)[0]) == 2


def test_files_that_cellpose_writes_are_no_images(tmp_path, image, labels):
    for ending in ("_img", "_cp_masks", "_flows", "_outlines", "_probability"):
        write_png(tmp_path / f"a{ending}.png", image)
    write_png(tmp_path / "a_masks.png", labels)
    assert [pair.name for pair in find_pairs(tmp_path)] == ["a"]


def test_data_sets_below_a_folder(tmp_path, image, labels):
    for group in ("one", "two"):
        for split in ("train", "test"):
            write_png(tmp_path / group / split / f"{split}_img.png", image)
            write_png(tmp_path / group / split / f"{split}_masks.png", labels)
    assert [(p.group, p.name) for p in find_pairs(tmp_path, "train")] == [("one", "train"), ("two", "train")]
    assert [(p.group, p.name) for p in find_pairs(tmp_path / "one" / "test")] == [("one", "test")]
    assert [(p.group, p.name) for p in find_pairs(tmp_path / "one", "test")] == [("one", "test")], (
        "never the other part"
    )
    with pytest.raises(DataError, match="nor in <set>/validation"):
        find_pairs(tmp_path, "validation")


@pytest.mark.parametrize("folders", [("images", "masks"), ("images", "labels"), ("Images", "Masks")])
@pytest.mark.parametrize(
    "layout", ["{folder}", "train/{folder}", "{folder}/train", "set/{folder}", "set/train/{folder}"]
)
@pytest.mark.parametrize("labels_name", ["a.png", "A.tif", "a_masks.png", "a.npy"])
def test_folders_of_images_and_masks(tmp_path, image, labels, folders, layout, labels_name):
    images, masks = (tmp_path / layout.format(folder=name) for name in folders)
    write_png(images / "a.png", image)
    write_png(images / "b_img.png", image)
    masks.mkdir(parents=True)
    write_labels(masks / labels_name, labels)
    write_labels(masks / "b.tif", labels)
    pairs = find_pairs(tmp_path, "train")
    assert [(pair.name, pair.image.name, pair.labels.name) for pair in pairs] == [
        ("a", "a.png", labels_name),
        ("b", "b_img.png", "b.tif"),
    ]
    assert {pair.group for pair in pairs} == {"set" if layout.startswith("set") else tmp_path.name}
    assert [sample.labels.max() for sample in read_samples(pairs)[0]] == [2, 2]


def test_what_is_missing_in_folders_of_images_and_masks_is_named(tmp_path, image, labels, caplog):
    for name in ("a", "b"):
        write_png(tmp_path / "images" / f"{name}.png", image)
    for name in ("a", "c", "a_flows", "a_overlay"):
        write_png(tmp_path / "masks" / f"{name}.png", labels)
    samples, faults = read_samples(find_pairs(tmp_path), "skip")
    assert [sample.name for sample in samples] == ["a"]
    assert [fault.path for fault in faults] == [tmp_path / "images" / "b.png", tmp_path / "masks" / "c.png"]
    assert "nor b.* in a folder masks/" in faults[0].problem
    assert "without an image of the same name" in faults[1].problem


@pytest.mark.parametrize("folders", [(".", "."), ("images", "masks")])
@pytest.mark.parametrize("name", ["a_cp_masks.tif", "a_img_cp_masks.tif"])
def test_results_are_labels_only_when_asked_for(tmp_path, image, labels, folders, name):
    images, masks = (tmp_path / folder for folder in folders)
    write_png(images / "a_img.png", image)
    masks.mkdir(exist_ok=True)
    write_labels(masks / name, labels)
    with pytest.raises(DataError, match=rf"{name}: a network that learns .* give --labels cp_masks"):
        find_pairs(tmp_path)
    (pair,) = find_pairs(tmp_path, source=LabelSource.CP_MASKS)
    assert read_sample(pair).labels.max() == 2

    write_png(images / "b_img.png", image)
    write_labels(masks / "b_masks.tif", labels)
    one, other = find_pairs(tmp_path)
    assert read_sample(other).name == "b"
    with pytest.raises(DataError, match=rf"a_img.png: its only labels are a result, {name}: .* --labels cp_masks"):
        read_sample(one)


def test_labels_that_somebody_drew_go_before_results(tmp_path, image, labels):
    write_png(tmp_path / "a.png", image)
    write_labels(tmp_path / "a_cp_masks.tif", labels)
    write_labels(tmp_path / "a_masks.tif", labels)
    for source in LabelSource:
        (pair,) = find_pairs(tmp_path, source=source)
        assert (pair.labels.name, pair.result) == ("a_masks.tif", None)


def test_no_folder_and_no_images(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        find_pairs(tmp_path / "none")
    with pytest.raises(DataError, match="no images with labels"):
        find_pairs(tmp_path)


@pytest.mark.parametrize(
    ("kind", "pixels"),
    [
        (Kind.TRANSMITTED, lambda inside: np.where(inside, 90, 180)),
        (Kind.FLUORESCENCE, lambda inside: np.where(inside, 180, 90)),
        (Kind.HISTOLOGY, lambda inside: np.stack([np.where(inside, c, 230) for c in (90, 20, 160)], axis=-1)),
        (Kind.FLUORESCENCE, lambda inside: np.stack([np.where(inside, 180, 20)] * 3, axis=-1)),
    ],
)
def test_kinds(tmp_path, labels, one, rng, kind, pixels):
    image = pixels(labels > 0)
    grain = rng.integers(0, 5, labels.shape)
    write_png(tmp_path / "a_img.png", (image + (grain if image.ndim == 2 else grain[..., None])).astype(np.uint8))
    write_png(tmp_path / "a_masks.png", labels)
    assert one().kind is kind


def spoil_nothing_there(folder, labels):
    (folder / "bad_masks.png").unlink()


def spoil_shape(folder, labels):
    write_png(folder / "bad_masks.png", labels[:, 1:])


def spoil_empty(folder, labels):
    write_png(folder / "bad_masks.png", np.zeros_like(labels))


def spoil_fractions(folder, labels):
    (folder / "bad_masks.png").unlink()
    tifffile.imwrite(folder / "bad_masks.tif", labels.astype(np.float32) / 2)


def spoil_mask(folder, labels):
    write_png(folder / "bad_masks.png", np.where(labels, 255, 0).astype(np.uint8))


def spoil_covered(folder, labels):
    write_png(folder / "bad_masks.png", np.full_like(labels, 255))


def spoil_negative(folder, labels):
    (folder / "bad_masks.png").unlink()
    np.save(folder / "bad_masks.npy", labels.astype(np.int32) - 1)


def spoil_colour(folder, labels):
    write_png(folder / "bad_masks.png", np.stack([labels.astype(np.uint8)] * 3, axis=-1))


def spoil_image_bytes(folder, labels):
    (folder / "bad_img.png").write_bytes((folder / "bad_img.png").read_bytes()[:100])


def spoil_image_missing(folder, labels):
    (folder / "bad_img.png").unlink()


def spoil_pickle(folder, labels):
    (folder / "bad_masks.png").unlink()
    np.save(folder / "bad_img_seg.npy", {"outlines": labels}, allow_pickle=True)


BAD = [
    (spoil_nothing_there, "bad_img.png", "no labels"),
    (spoil_shape, "bad_masks.png", r"labels of shape \(40, 49\), the image bad_img.png \(40, 50\)"),
    (spoil_empty, "bad_masks.png", "no object"),
    (spoil_fractions, "bad_masks.tif", "labels are float32 with fractions"),
    (spoil_mask, "bad_masks.png", "one number, 255, for 2 separate objects"),
    (spoil_covered, "bad_masks.png", "covers the whole image"),
    (spoil_negative, "bad_masks.npy", "a label of -1"),
    (spoil_colour, "bad_masks.png", "3 planes"),
    (spoil_image_bytes, "bad_img.png", "cannot be decoded"),
    (spoil_image_missing, "bad_masks.png", "without an image"),
    (spoil_pickle, "bad_img_seg.npy", "no masks"),
]


@pytest.fixture
def good_and_bad(tmp_path, image, labels):
    for name in ("bad", "good"):
        write_png(tmp_path / f"{name}_img.png", image)
        write_png(tmp_path / f"{name}_masks.png", labels)
    return tmp_path


@pytest.mark.parametrize(("spoil", "file", "problem"), BAD, ids=[entry[0].__name__ for entry in BAD])
def test_bad_data_is_named_and_skipped_or_refused(good_and_bad, labels, caplog, spoil, file, problem):
    spoil(good_and_bad, labels)
    pairs = find_pairs(good_and_bad)
    with caplog.at_level(logging.WARNING):
        samples, (fault,) = read_samples(pairs, "skip")
    assert [sample.name for sample in samples] == ["good"]
    assert fault.path == good_and_bad / file
    assert str(fault.path) in caplog.text
    with pytest.raises(ExceptionGroup, match="1 of 2 labelled images are bad") as refused:
        read_samples(pairs, "refuse")
    (error,) = refused.value.exceptions
    with pytest.raises(DataError, match=problem):
        raise error


def test_nothing_but_bad_data(good_and_bad, labels):
    spoil_empty(good_and_bad, labels)
    write_png(good_and_bad / "good_masks.png", np.zeros_like(labels))
    with pytest.raises(DataError, match="none of the labelled images"):
        read_samples(find_pairs(good_and_bad), "skip")


def test_labels_without_background_stay_objects(tmp_path, image, one):
    write_png(tmp_path / "a_img.png", image)
    np.save(tmp_path / "a_masks.npy", np.repeat([[5], [9]], 20, axis=0) * np.ones((1, 50), int))
    assert np.unique(one().labels).tolist() == [1, 2]


@pytest.mark.parametrize("channels", [1, 2])
def test_volumes_are_read_where_they_are_wanted(tmp_path, rng, channels):
    pixels = rng.integers(0, 50, (6, channels, 40, 50), dtype=np.uint16)
    labels = np.zeros((6, 40, 50), np.uint16)
    labels[1:4, 5:15, 5:15], labels[2:5, 20:30, 30:40] = 3, 7
    pixels[:, 0][labels > 0] += 100
    stored = pixels if channels > 1 else pixels[:, 0]
    axes = {"axes": "ZCYX" if channels > 1 else "ZYX", "spacing": 1.5, "unit": "um"}
    tifffile.imwrite(tmp_path / "a_img.tif", stored, imagej=True, resolution=(2, 2), metadata=axes)
    tifffile.imwrite(tmp_path / "a_masks.tif", labels)
    (pair,) = find_pairs(tmp_path)
    sample = read_sample(pair, volumes=True)
    np.testing.assert_array_equal(sample.image, np.moveaxis(pixels, 1, 0))
    np.testing.assert_array_equal(sample.labels, labels // 3)
    assert (sample.is_volume, sample.kind, sample.anisotropy) == (True, Kind.FLUORESCENCE, 3)
    with pytest.raises(DataError, match="stack"):
        read_sample(pair)


def test_labels_of_another_shape_than_the_volume_are_refused(tmp_path, rng, labels):
    tifffile.imwrite(tmp_path / "a_img.tif", rng.integers(0, 50, (6, 40, 50), dtype=np.uint8), metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "a_masks.tif", labels)
    (pair,) = find_pairs(tmp_path)
    with pytest.raises(DataError, match="axes YX, expected ZYX"):
        read_sample(pair, volumes=True)
    tifffile.imwrite(tmp_path / "a_masks.tif", np.stack([labels] * 5))
    with pytest.raises(DataError, match=r"labels of shape \(5, 40, 50\)"):
        read_sample(pair, volumes=True)
