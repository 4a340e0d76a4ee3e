"""Crops: geometry against flows computed anew, appearance within its limits."""

import dataclasses

import cv2
import numpy as np
import pytest
from cellserve_evaluation.sample import Kind, Sample
from cellserve_postprocess import FLOW_SCALE, median_diameter
from cellserve_training import augment
from cellserve_training.augment import (
    BETWEEN_WEIGHT,
    LARGEST_WEIGHT,
    PAPER,
    Augmentation,
    cut_crop,
    object_weights,
    prepare,
)
from cellserve_training.batches import BALANCE, Batches, balanced_shares
from cellserve_training.dataset import read_samples
from cellserve_training.pairs import find_pairs
from cellserve_training.schedule import Preset, Schedule
from cellserve_training.targets import cached_flows, masks_to_flows

DIAM_MEAN = 30.0


def disks(shape=(160, 200), radius=18):
    """Rows of disks, brighter than their ground, each of its own brightness."""
    labels = np.zeros(shape, np.uint16)
    y, x = np.indices(shape)
    number = 0
    for centre_y in range(radius + 4, shape[0] - radius, 2 * radius + 6):
        for centre_x in range(radius + 4, shape[1] - radius, 2 * radius + 6):
            number += 1
            labels[(y - centre_y) ** 2 + (x - centre_x) ** 2 <= radius**2] = number
    image = np.where(labels > 0, 100 + labels, 10).astype(np.uint8)[None]
    return Sample("disks", "made", Kind.FLUORESCENCE, image, labels)


@pytest.fixture
def example(tmp_path):
    return prepare(disks(), tmp_path)


def test_enlarged_flows_have_unit_length_up_to_the_outline(tmp_path):
    small = prepare(disks(radius=5), tmp_path)  # ten pixels become thirty
    for seed in range(4):
        _, target = cut_crop(small, 128, DIAM_MEAN, PAPER, np.random.default_rng(seed))
        length = np.hypot(*target[:2])[target[2] > 0] / FLOW_SCALE
        assert length.size > 1000
        assert length.max() < 1.001
        assert (length > 0.999).mean() > 0.97, "but in the middle and in the corners of the outline"


def test_small_objects_count_more_by_the_ratio_of_areas():
    labels = np.zeros((60, 60), np.uint16)
    labels[2:22, 2:22] = 5  # numbers have gaps; areas are 400, 400, 400, 100, 4 and 900
    labels[30:50, 2:22] = 2
    labels[2:22, 30:50] = 3
    labels[24:34, 24:34] = 9
    labels[56:58, 56:58] = 7
    labels[25:55, 36:66][:, :24] = 11
    weights = object_weights(labels)
    assert weights.shape == (12,)
    assert weights[[0, 5, 9, 7, 11]].tolist() == [1, 1, 4, LARGEST_WEIGHT, 1]


def test_a_crop_carries_the_weights_of_its_objects(tmp_path):
    sample = disks()
    sample.labels[40:46, 40:46] = 200  # 36 px between disks of about 1000
    example = prepare(sample, tmp_path)
    seen = set()
    for seed in range(8):
        _, target = cut_crop(example, 128, DIAM_MEAN, PAPER, np.random.default_rng(seed))
        assert set(target[3][target[2] == 0].tolist()) <= {1.0, BETWEEN_WEIGHT}
        small = target[3] == LARGEST_WEIGHT
        assert set(target[4][small].tolist()) <= {float(np.sqrt(np.float32(LARGEST_WEIGHT))), BETWEEN_WEIGHT}
        assert set(target[4][~small].tolist()) <= {1.0, BETWEEN_WEIGHT}
        seen |= set(target[3][target[2] > 0].tolist())
    assert {1.0, LARGEST_WEIGHT} <= seen <= {1.0, LARGEST_WEIGHT, BETWEEN_WEIGHT}


def test_pixels_between_neighbours_count_more(tmp_path):
    """Two halves of a square and, far away, a third object: the rim of the halves, inside and beyond its ends."""
    labels = np.zeros((90, 90), np.uint16)
    labels[20:50, 20:35], labels[20:50, 35:50], labels[56:86, 60:76] = 1, 2, 3
    example = prepare(
        Sample("halves", "made", Kind.FLUORESCENCE, (labels > 0).astype(np.uint8)[None], labels), tmp_path
    )
    upright = np.array([[1, 0, 0], [0, 1, 0]], float)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augment, "_placement", lambda *_: upright)
        _, target = cut_crop(example, 88, example.diameter, PAPER, np.random.default_rng(0))
    expected = np.ones((88, 88), np.float32)
    expected[18:52, 33:37] = BETWEEN_WEIGHT
    np.testing.assert_array_equal(target[3], expected)
    np.testing.assert_array_equal(target[4], expected)


def test_targets_are_cached_by_content(tmp_path):
    labels = disks().labels
    flows = cached_flows(labels, tmp_path)
    (file,) = tmp_path.iterdir()
    before = file.stat().st_mtime_ns
    np.testing.assert_array_equal(cached_flows(labels, tmp_path), flows)
    assert file.stat().st_mtime_ns == before
    cached_flows(np.flipud(labels), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_cache_file_is_made_anew(tmp_path):
    labels = disks().labels
    flows = cached_flows(labels, tmp_path).copy()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:50])
    np.testing.assert_array_equal(cached_flows(labels, tmp_path), flows)


@pytest.mark.parametrize("seed", range(12))
def test_flows_turn_with_the_crop(example, seed):
    """In every crop of disks, however turned, mirrored and scaled, flows point to the middle of their disk."""
    rng = np.random.default_rng(seed)
    image, target = cut_crop(example, 128, DIAM_MEAN, PAPER, rng)
    assert image.shape == (2, 128, 128)
    assert target.shape == (5, 128, 128)
    assert image.dtype == target.dtype == np.float32
    # Disks lie apart, so pieces of the inside map are disks.
    count, pieces, _, centres = cv2.connectedComponentsWithStats(target[2].astype(np.uint8), connectivity=4)
    checked = 0
    for piece in range(1, count):
        ys, xs = np.nonzero(pieces == piece)
        if min(ys.min(), xs.min()) == 0 or max(ys.max(), xs.max()) == 127:
            continue
        towards = centres[piece][::-1][:, None] - np.stack([ys, xs])
        distance = np.linalg.norm(towards, axis=0)
        flow = target[:2, ys, xs] / FLOW_SCALE
        outer = (distance > 4) & (distance < np.sqrt(len(ys) / np.pi) - 2)
        if outer.sum() < 50:
            continue  # a sliver at the edge of the image
        cosine = (towards * flow).sum(axis=0)[outer] / distance[outer]
        assert cosine.min() > 0.9
        checked += 1
    assert checked


def test_objects_come_out_at_the_common_size(example):
    exact = dataclasses.replace(PAPER, scale=(1.0, 1.0))
    areas = []
    for seed in range(10):
        _, target = cut_crop(example, 128, DIAM_MEAN, exact, np.random.default_rng(seed))
        for _, _, width, height, area in cv2.connectedComponentsWithStats(target[2].astype(np.uint8))[2][1:]:
            if min(width, height) > 0.9 * max(width, height):  # whole
                areas.append(area)
    assert 2 * np.sqrt(np.median(areas) / np.pi) == pytest.approx(DIAM_MEAN, rel=0.03)


def test_image_and_target_belong_together(example):
    """Bright pixels are inside, dark ones outside, but for a rim that interpolation blurs."""
    for seed in range(8):
        image, target = cut_crop(example, 96, DIAM_MEAN, PAPER, np.random.default_rng(seed))
        wrong = (image[0] > 0.5) != (target[2] > 0.5)
        assert wrong.mean() < 0.02


def test_outside_the_image_all_is_zero(example):
    """An image smaller than a crop is framed by zeros, as the service frames it."""
    image, target = cut_crop(example, 512, DIAM_MEAN, Augmentation(), np.random.default_rng(3))
    covered = (image[0] != 0).mean()
    expected = example.sample.labels.size * (DIAM_MEAN / example.diameter) ** 2 / 512**2
    assert expected * 0.5 < covered < expected * 1.65
    assert not target[:, image[0] == 0][2].any() or covered == 1


def test_nothing_is_mutated(example):
    planes, flows = example.planes.copy(), example.flows.copy()
    for seed in range(10):
        cut_crop(example, 64, DIAM_MEAN, Augmentation(), np.random.default_rng(seed))
    np.testing.assert_array_equal(example.planes, planes)
    np.testing.assert_array_equal(example.flows, flows)


def test_appearance_keeps_the_order_of_intensities(example):
    """Without noise, blur, inversion and illumination, disks stay brighter than their ground."""
    mild = Augmentation(invert=0, noise=0, blur=0, illumination=0, gamma=1)
    for seed in range(10):
        image, target = cut_crop(example, 96, DIAM_MEAN, mild, np.random.default_rng(seed))
        inside, outside = image[0][target[2] > 0], image[0][(target[2] == 0) & (image[0] != 0)]
        assert np.median(inside) > np.median(outside) + 0.4
        assert np.isfinite(image).all()


def test_the_nucleus_plane_is_kept_or_dropped_whole(labelled, tmp_path):
    pairs = [pair for pair in find_pairs(labelled) if pair.name.startswith("synthetic")]
    example = prepare(read_samples(pairs)[0][0], tmp_path)
    for chance, present in ((0.0, True), (1.0, False)):
        image, _ = cut_crop(example, 96, 30, Augmentation(drop_nucleus=chance), np.random.default_rng(0))
        assert image[1].any() == present


def test_batches_depend_on_seed_and_step_alone(labelled, tmp_path):
    examples = [prepare(sample, tmp_path) for sample in read_samples(find_pairs(labelled))[0]]
    schedule = Schedule.of(Preset.FAST, len(examples), steps=20, crop=32)
    first, again = Batches(examples, schedule, 30, seed=5), Batches(examples, schedule, 30, seed=5)
    assert len(first) == 20
    for left, right in zip(first[7], again[7], strict=True):
        assert left.equal(right)
    assert not first[7][0].equal(first[8][0])
    assert not first[7][0].equal(Batches(examples, schedule, 30, seed=6)[7][0])
    assert first[7][0].shape == (8, 2, 32, 32)
    assert first[7][1].shape == (8, 5, 32, 32)


def test_balanced_shares(labelled, tmp_path):
    """Data sets count by a power of their size."""
    examples = [prepare(sample, tmp_path) for sample in read_samples(find_pairs(labelled))[0]]
    made = [
        dataclasses.replace(example, sample=dataclasses.replace(example.sample, group=group, kind=Kind.HISTOLOGY))
        for example, group in zip(examples, "bbbaaaa", strict=True)
    ]
    shares = balanced_shares(made)
    assert shares.sum() == pytest.approx(1)
    assert shares[3:].sum() / shares[:3].sum() == pytest.approx((4 / 3) ** BALANCE)
    assert median_diameter(made[0].sample.labels) == pytest.approx(made[0].diameter)


def test_an_epoch_shows_every_image_once(labelled, tmp_path):
    examples = [prepare(sample, tmp_path) for sample in read_samples(find_pairs(labelled))[0]]
    batches = Batches(examples, Schedule.of(Preset.PAPER, len(examples), crop=32), 30, seed=1)
    rng = np.random.default_rng(0)
    order = [index for step in range(7) for index in batches._indices(step, rng)]
    for epoch in range(8):
        assert sorted(order[epoch * 7 : epoch * 7 + 7]) == list(range(7))
    assert order[:7] != order[7:14]


def test_flows_of_stretched_objects_are_nearly_those_computed_anew(example):
    """Ellipses made of disks: turning the flows stands for diffusion in the stretched object."""
    stretched = dataclasses.replace(PAPER, scale=(1.0, 1.0), stretch=1.5)
    longest = 1.0
    for seed in range(12):
        _, target = cut_crop(example, 128, DIAM_MEAN, stretched, np.random.default_rng(seed))
        count, pieces, boxes, _ = cv2.connectedComponentsWithStats(target[2].astype(np.uint8), connectivity=4)
        for piece in range(1, count):
            x, y, width, height, area = boxes[piece]
            if min(x, y) == 0 or max(x + width, y + height) == 128 or area < 500:
                continue  # cut by the crop, or by the edge of the image
            inside = pieces == piece
            (_, axes, _) = cv2.fitEllipse(np.argwhere(inside).astype(np.float32))
            longest = max(longest, max(axes) / min(axes))
            anew = masks_to_flows(inside.astype(np.uint16))[:, inside]
            turned = target[:2, inside] / FLOW_SCALE
            assert np.hypot(*turned).max() < 1.001
            cosine = (anew * turned).sum(axis=0)
            assert np.median(cosine) > 0.99
            assert cosine.mean() > 0.98
    assert longest > 1.5
