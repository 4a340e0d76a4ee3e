import imagecodecs
import numpy as np
import pytest
from cellserve_evaluation.contact_sheet import (
    COLUMNS,
    choose_images,
    choose_window,
    render,
    write_pictures,
    write_sheet,
)
from cellserve_evaluation.evaluation import Scored, run_pass
from cellserve_evaluation.sample import Kind, Sample
from cellserve_evaluation.scores import score
from cellserve_evaluation.sources import Prediction, PredictionError


def scored(name, hits, group="set", planes=1):
    """Ten squares of which some are found."""
    labels = np.zeros((60, 120), np.uint16)
    for number in range(10):
        labels[10 : 10 + 8, 12 * number : 12 * number + 8] = number + 1
    image = np.random.default_rng(hits).integers(0, 50, (planes, 60, 120)).astype(np.uint8) + np.uint8(labels > 0) * 90
    sample = Sample(name, group, Kind.FLUORESCENCE, image, labels)
    found = np.where(labels <= hits, labels, 0)
    return Scored(sample, found, score(sample, found))


class Given:
    name = "given"
    estimates = False

    def __init__(self, entries):
        self.outcomes = {entry.sample: Prediction(entry.labels) for entry in entries}

    def predict(self, samples):
        return ((sample, self.outcomes.get(sample, PredictionError("broke"))) for sample in samples)


def sheet(path, entries):
    write_sheet(path, "given", entries)
    return imagecodecs.imread(path)


def count(picture, colour):
    """Pixels of about a colour."""
    return int((np.abs(picture[..., :3].astype(int) - colour).max(axis=-1) < 70).sum())


def test_large_sets_show_best_median_and_worst():
    entries = [scored(f"{hits}-{again}", hits) for again in range(2) for hits in range(11)]
    rows = choose_images(entries)
    assert [title for title, _ in rows] == ["best", "median", "worst"]
    hits = [[entry.score.found_objects for entry in images] for _, images in rows]
    assert hits == [[10, 10, 9, 9], [6, 5, 5, 4], [1, 1, 0, 0]]


@pytest.mark.parametrize("number", range(1, 3 * COLUMNS + 1))
def test_small_sets_are_shown_whole(number):
    entries = [scored(str(hits), min(hits, 10)) for hits in range(number)]
    rows = choose_images(entries)
    shown = [entry.sample.name for _, images in rows for entry in images]
    assert sorted(shown) == sorted(entry.sample.name for entry in entries)
    assert max(len(images) for _, images in rows) <= COLUMNS
    found = [entry.score.found_objects for _, images in rows for entry in images]
    assert found == sorted(found, reverse=True)


def test_the_window_shows_where_two_segmentations_differ():
    truth = np.zeros((100, 140), np.uint16)
    truth[5:15, 5:15], truth[60:70, 100:110] = 1, 2
    window = choose_window(truth, np.where(truth == 2, 0, truth), 40)
    assert truth[window.rows, window.columns].shape == (40, 40)
    assert (truth[window.rows, window.columns] == 2).sum() == 100
    # In the middle of the window, as far as the image allows.
    assert 40 <= window.rows.start <= 50
    assert 80 <= window.columns.start <= 90


def test_the_window_shows_objects_where_segmentations_agree():
    truth = np.zeros((100, 140), np.uint16)
    truth[60:70, 100:110] = 1
    window = choose_window(truth, truth, 30)
    assert (truth[window.rows, window.columns] == 1).sum() == 100


def test_the_window_of_a_small_image_is_all_of_it():
    truth = np.zeros((20, 140), np.uint16)
    window = choose_window(truth, truth, 50)
    assert (window.rows, window.columns.stop - window.columns.start) == (slice(0, 20), 50)


def test_images_are_rendered_between_black_and_white():
    colour = np.stack([np.full((9, 9), level, np.uint16) for level in (1000, 2000, 3000)])
    red, green, blue = render(colour)[4, 4]
    assert red < green < blue
    nuclei = np.zeros((2, 9, 9), np.float32)
    nuclei[1, 3:6, 3:6] = 7
    red, _, blue = render(nuclei)[4, 4]
    assert blue == 1 > red
    for planes in (1, 2, 3):
        assert not render(np.full((planes, 9, 9), 7, np.int16)).any()


def test_the_sheet_outlines_truth_and_segmentation(tmp_path):
    blue, red = (0, 213, 255), (255, 61, 0)
    all_found = sheet(tmp_path / "sheet.png", [scored("x", 10)])
    none_found = sheet(tmp_path / "none.png", [scored("x", 0)])
    assert all_found.shape == none_found.shape
    legend = count(none_found, red)
    assert count(all_found, red) > 5 * legend > 0
    assert count(none_found, blue) > 5 * legend


def test_every_set_gets_a_part_and_any_kind_of_image_a_panel(tmp_path):
    one = [scored("grey", 4)]
    more = [*one, scored("two planes", 5, "other", 2), scored("colour" * 20, 6, "third", 3)]
    assert sheet(tmp_path / "more.png", more).shape[0] > 2 * sheet(tmp_path / "one.png", one).shape[0]


def test_a_pass_without_any_segmentation_has_no_sheet(tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        write_sheet(tmp_path / "sheet.png", "given", [])
    assert not write_pictures(tmp_path / "sheet.png", run_pass(Given([]), [scored("x", 1).sample]))
    assert not list(tmp_path.iterdir())


def test_every_volume_has_a_picture_of_its_own(tmp_path):
    image = scored("flat", 1)
    labels = np.zeros((6, 20, 30), np.uint16)
    labels[2:5, 5:15, 5:20] = 1
    deep = Sample("deep", "stacks", Kind.FLUORESCENCE, np.uint8(labels > 0)[np.newaxis], labels, 2.0)
    entry = run_pass(Given([image, Scored(deep, labels, score(deep, labels))]), [image.sample, deep])
    sheet, montage = write_pictures(tmp_path / "sheet.png", entry)
    assert (sheet.name, montage.name) == ("sheet.png", "sheet_stacks_deep.png")
    assert count(imagecodecs.imread(montage), (255, 61, 0)) > 100
    only = run_pass(Given([Scored(deep, labels, score(deep, labels))]), [deep])
    assert write_pictures(tmp_path / "other.png", only) == [tmp_path / "other_stacks_deep.png"]
