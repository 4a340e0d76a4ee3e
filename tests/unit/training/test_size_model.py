"""The fit of the size model, on disks and a network that was never trained."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch
from cellserve_evaluation.sample import Kind, Sample
from cellserve_networks.network import CPnet, StyleNetwork
from cellserve_networks.size_model import read_size_model, write_size_model
from cellserve_postprocess import STYLE_SIZE, image_style, median_diameter, style_grid
from cellserve_preprocess import Normalization, normalize
from cellserve_training import size_model
from cellserve_training.size_model import fit
from numpy.typing import NDArray


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def remembered(monkeypatch) -> None:
    """The style of an image is computed once in a test: fits of the same seed see the same images."""
    compute, styles = size_model._Styles.of, {}

    def of(self: size_model._Styles, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        key = planes.shape, planes.tobytes()
        if key not in styles:
            styles[key] = compute(self, planes)
        return styles[key]

    monkeypatch.setattr(size_model._Styles, "of", of)


@pytest.fixture(scope="module")
def network() -> CPnet:
    torch.manual_seed(0)
    return CPnet().eval()


def disks(diameter: int, side: int = 130) -> Sample:
    """An image of noisy disks of one size."""
    rng = np.random.default_rng(diameter)
    labels = np.zeros((side, side), np.uint16)
    step = diameter + 4
    for number, (y, x) in enumerate(np.ndindex(side // step, side // step)):
        cv2.circle(labels, (x * step + step // 2, y * step + step // 2), diameter // 2, number + 1, -1)
    image = np.where(labels > 0, 150, 20) + rng.normal(0, 5, labels.shape)
    return Sample(f"{diameter}", "disks", Kind.FLUORESCENCE, image.clip(0, 255).astype(np.uint8)[None], labels)


def empty() -> Sample:
    return Sample("empty", "disks", Kind.FLUORESCENCE, np.zeros((1, 60, 60), np.uint8), np.zeros((60, 60), np.uint16))


def test_a_fit_predicts_images_it_has_not_seen(network, tmp_path):
    samples = [disks(diameter) for diameter in range(10, 34, 2)]
    result = fit(network, [*samples, empty()], views=4, ridge=1e-6)
    assert (result.images, result.views) == (12, 48), "what shows no object is left out"
    assert result.correlation > 0.8, "even random features know the size of a disk"
    assert result.error < 0.25
    assert result.model.diam_mean == 30
    again = fit(network, samples, views=4, ridge=1e-6)
    assert again.model == result.model, "the seed decides"
    write_size_model(tmp_path / "sizes.json", result.model)
    assert read_size_model(tmp_path / "sizes.json") == result.model


def test_the_ridge_is_the_one_that_predicts_left_out_images_best(network):
    samples = [disks(diameter) for diameter in range(10, 34, 2)]
    chosen = fit(network, samples, views=2)
    assert chosen == fit(network, samples, views=2, ridge=chosen.ridge), "as if it had been given"
    assert chosen.ridge in size_model.RIDGES
    assert chosen.error < fit(network, samples, views=2, ridge=1.0).error, "Cellpose's is for far more views"


def test_views_are_seen_as_the_service_sees_images(network):
    """Same normalisation, same tiles, same mean: a style here is a style there."""
    planes = normalize(disks(20, side=300).planes(), Normalization()).planes
    grid = style_grid((300, 300))
    with torch.inference_mode():
        styles = StyleNetwork(network)(torch.from_numpy(grid.cut(planes, 0, len(grid)))).numpy()
    np.testing.assert_allclose(size_model._Styles(network, False).of(planes), image_style(styles), atol=1e-6)


def test_views_cover_many_diameters_within_bounds():
    sample = disks(20)
    sizes = []
    planes = np.concatenate([sample.image, sample.image]).astype(np.float32)
    for view, factor in size_model._views(planes, 20.0, 100, np.random.default_rng(0)):
        sizes.append(20 * factor)
        assert view.shape == (2, int(130 * factor), int(130 * factor))
    assert sizes[0] == 20
    assert 20 * size_model.SCALES[0] <= min(sizes) < 10
    assert 40 < max(sizes) <= 20 * size_model.SCALES[1]
    small = [3 * factor for _, factor in size_model._views(planes, 3.0, 100, np.random.default_rng(0))]
    assert min(small[1:]) >= 6, "no view of objects too small to be seen"
    assert planes[1].any(), "the image itself keeps its nuclei"


def test_ridge_regression():
    """At the solution the gradient of the penalised squares vanishes."""
    rng = np.random.default_rng(0)
    styles = rng.random((300, STYLE_SIZE))
    styles /= np.linalg.norm(styles, axis=1, keepdims=True)
    diameters = np.exp(rng.normal(3, 0.5, 300))
    model = size_model._regress(styles, diameters, 1.0, 17.0)
    coefficients = np.array(model.coefficients)
    centred = styles - styles.mean(axis=0)
    residual = np.log(diameters / 17) - model.log_diameter_mean - centred @ coefficients
    np.testing.assert_allclose(centred.T @ residual, coefficients, atol=1e-9)
    assert np.abs(coefficients).max() > 0.01
    np.testing.assert_allclose(model.style_mean, styles.mean(axis=0))


def test_too_few_images(network):
    with pytest.raises(ValueError, match="1 images with objects; a size model takes 10 or more"):
        fit(network, [disks(20), empty()], views=1)
    with pytest.raises(ValueError, match="0 images"):
        fit(network, [], views=1)


def test_target_is_the_median_of_the_objects():
    assert median_diameter(disks(20).labels) == pytest.approx(20, rel=0.05)
