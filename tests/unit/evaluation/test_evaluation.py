import io
import json
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace

import cellserve
import grpc
import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_evaluation.evaluation import EvaluationError, evaluate, run_pass
from cellserve_evaluation.sample import Kind, Sample
from cellserve_evaluation.scores import compare_diameters, score, summarize
from cellserve_evaluation.sources import Folder, Otsu, Prediction, PredictionError, Service
from cellserve_evaluation.tables import show
from rich.console import Console


def sample(name, group="a", kind=Kind.FLUORESCENCE, *, side=16, objects=2, planes=1):
    """Squares in a row, brighter than their ground."""
    labels = np.zeros((40, 160), np.uint16)
    for number in range(objects):
        labels[4 : 4 + side, 40 * number + 2 : 40 * number + 2 + side] = number + 1
    return Sample(name, group, kind, np.repeat(np.uint8(labels > 0)[None] * 200, planes, axis=0), labels)


@dataclass
class Given:
    """A source of prepared outcomes, given out in reverse."""

    outcomes: dict
    name: str = "given"
    estimates: bool = False

    def predict(self, samples):
        for entry in reversed(samples):
            yield entry, self.outcomes[entry.name]


@dataclass
class Client:
    """Stands in for the client: answers with the labels it is given."""

    labels: dict
    requests: list = field(default_factory=list)

    def segment(self, image, params=None, **options):
        self.requests.append((image.axes, image.pixels.shape, options | {"params": params}))
        labels = self.labels[int(image.pixels.sum())]
        if labels is None:
            raise cellserve.InvalidRequestError("no such thing", grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
        params = cellserve.SegmentParams(diameter=options["diameter"] or 17.0, niter=200)
        model = cellserve.ModelVersion("family", "family", "1", "ab" * 32)
        return SimpleNamespace(labels=labels, params=params, model=model)


FAMILY = SimpleNamespace(name="family", working_diameter=30.0)


def service(samples, labels, **options):
    client = Client({int(s.image.sum()): found for s, found in zip(samples, labels, strict=True)})
    return Service(client, FAMILY, **options), client


def test_a_score_holds_every_figure():
    truth = sample("one", "set", Kind.TRANSMITTED)
    found = truth.labels.copy()
    found[found == 2] = 0
    entry = score(truth, found * 7, 12.0)
    assert (entry.name, entry.group, entry.kind) == ("one", "set", "transmitted")
    assert entry.average_precision == (0.5,) * 4
    assert entry.aggregated_jaccard == 0.5
    assert (entry.boundary_precision, entry.boundary_recall) == (1, pytest.approx(0.5, abs=0.05))
    assert entry.boundary_f == pytest.approx(2 / 3, abs=0.05)
    assert (entry.true_objects, entry.found_objects) == (2, 1)
    assert entry.true_diameter == pytest.approx(2 * np.sqrt(16 * 16 / np.pi))
    assert entry.used_diameter == 12


def test_images_without_objects_are_scored():
    empty = sample("none", objects=0)
    assert score(empty, empty.labels).average_precision == (1,) * 4
    assert score(empty, empty.labels).true_diameter is None
    assert score(empty, sample("some").labels).average_precision == (0,) * 4


def volume(name, shape=(8, 40, 60)):
    """Two blocks, brighter than their ground."""
    labels = np.zeros(shape, np.uint16)
    labels[1:6, 4:24, 4:24] = 1
    labels[2:7, 10:20, 34:54] = 2
    return Sample(name, "stacks", Kind.FLUORESCENCE, np.uint8(labels > 0)[np.newaxis] * np.uint8(200), labels, 2.0)


def test_volumes_are_scored_by_voxels():
    truth = volume("deep")
    found = truth.labels.copy()
    found[3:6][found[3:6] == 1] = 0  # two of five planes are left: IoU 0.4
    entry = score(truth, found)
    assert entry.average_precision == (1, 1 / 3, 1 / 3, 1 / 3)
    assert entry.precision == 1 / 3
    assert entry.aggregated_jaccard == pytest.approx((2 * 400 + 1000) / 3000)
    assert entry.boundary_precision is entry.boundary_recall is entry.boundary_f is None
    sections = [20 * 20] * 5 + [10 * 20] * 5
    assert entry.true_diameter == pytest.approx(np.median(2 * np.sqrt(np.array(sections) / np.pi)))
    flat = sample("flat")
    both = summarize([entry, score(flat, flat.labels)], [])[-1]
    assert both.precision == pytest.approx(2 / 3)
    assert both.boundary_f == 1
    assert summarize([entry], [])[-1].boundary_f is None


def test_label_volumes_of_other_programs_are_found(tmp_path):
    named, unnamed, flat = volume("named"), volume("unnamed"), volume("flat")
    tifffile.imwrite(tmp_path / "named_masks.tif", named.labels, metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "unnamed_masks.tif", unnamed.labels)
    tifffile.imwrite(tmp_path / "flat_masks.tif", flat.labels[0])
    tifffile.imwrite(tmp_path / "series_masks.tif", flat.labels, imagej=True, metadata={"axes": "TYX"})
    result = run_pass(Folder(tmp_path), [named, unnamed, flat, volume("series")])
    assert {s.sample.name: s.score.average_precision for s in result.scored} == {"named": (1,) * 4, "unnamed": (1,) * 4}
    wrong, series = (failure.problem for failure in result.failures)
    assert "axes YX, expected ZYX" in wrong
    assert "axes TYX, expected ZYX" in series
    text = io.StringIO()
    show(SimpleNamespace(passes=[result], notes=[]), Console(file=text))
    assert "boundary scores are measured on 2-D images alone" in text.getvalue()


def test_volumes_that_a_source_does_not_segment_are_failures():
    refused = run_pass(Otsu(), [volume("deep")])
    assert [failure.sample.name for failure in refused.failures] == ["deep"]


@pytest.mark.parametrize("given", [None, cellserve.SegmentParams(stack_mode="stitch", anisotropy=3)])
def test_volumes_are_sent_as_stacks(given):
    deep = volume("deep")
    source, client = service([deep], [deep.labels], params=given)
    (scored,) = run_pass(source, [deep]).scored
    assert scored.score.average_precision[0] == 1
    ((axes, shape, options),) = client.requests
    assert (axes, shape) == ("CZYX", deep.image.shape)
    asked = options["params"]
    assert (asked.stack_mode, asked.anisotropy) == (("stitch", 3) if given else ("volume", deep.anisotropy))


def test_summaries_are_means_over_images():
    f, t = Kind.FLUORESCENCE, Kind.TRANSMITTED
    good, bad, other, lost = sample("w", "a"), sample("x", "a"), sample("y", "b", t), sample("z", "b", f)
    scores = [score(good, good.labels), score(bad, 0 * bad.labels), score(other, other.labels)]
    rows = {(row.group, row.kind): row for row in summarize(scores, [lost])}
    assert list(rows) == [("a", None), ("b", None), ("b", f), ("b", t), (None, f), (None, t), (None, None)]
    assert rows["a", None].average_precision == (0.5,) * 4
    assert rows["a", None].boundary_f == 0.5
    assert (rows["b", f].images, rows["b", f].failed, rows["b", f].average_precision) == (0, 1, None)
    assert rows["b", f].boundary_f is rows["b", f].aggregated_jaccard is None
    everything = rows[None, None]
    assert (everything.images, everything.failed, everything.true_objects, everything.found_objects) == (3, 1, 6, 4)
    assert everything.aggregated_jaccard == pytest.approx(2 / 3)


def test_estimated_diameters_are_compared_where_there_are_objects():
    samples = [sample(str(side), side=side) for side in (8, 12, 16, 24)]
    scores = [score(s, s.labels, 1.1 * score(s, s.labels).true_diameter) for s in samples]
    empty = sample("none", objects=0)
    found = compare_diameters([*scores, score(empty, empty.labels, 30.0), score(samples[0], samples[0].labels)])
    assert found.images == 4
    assert (found.correlation, found.log_correlation) == (pytest.approx(1), pytest.approx(1))
    assert found.error == pytest.approx(0.1)
    assert compare_diameters(scores[:2]) is None
    assert compare_diameters([score(samples[0], samples[0].labels, d) for d in (10.0, 11.0, 12.0)]) is None


def test_failures_are_named_and_order_is_kept():
    samples = [sample("x"), sample("y"), sample("z")]
    outcomes = {s.name: Prediction(s.labels) for s in samples} | {"y": PredictionError("it broke")}
    result = run_pass(Given(outcomes), samples)
    assert [scored.sample.name for scored in result.scored] == ["x", "z"]
    assert [(f.sample.name, f.problem) for f in result.failures] == [("y", "it broke")]
    assert (result.summaries[-1].images, result.summaries[-1].failed) == (2, 1)


def test_the_service_is_told_the_true_diameter_or_left_to_estimate_it():
    samples = [sample("x", planes=3), sample("none", objects=0)]
    source, client = service(samples, [s.labels for s in samples], ensemble=False)
    assert source.name == "single network, true diameter"
    result = run_pass(source, samples)
    sent = sorted((options["diameter"], axes, shape) for axes, shape, options in client.requests)
    assert sent == [(pytest.approx(18.05, abs=0.01), "CYX", (3, 40, 160)), (30.0, "CYX", (1, 40, 160))]
    assert all(o["model"] == "family" and o["ensemble"] is False for _, _, o in client.requests)
    assert result.models == (asdict(cellserve.ModelVersion("family", "family", "1", "ab" * 32)),)
    assert result.parameters[0]["niter"] == 200
    assert "diameter" not in result.parameters[0]
    assert result.diameters is None

    source, client = service(samples, [s.labels for s in samples], estimates=True)
    assert source.name == "ensemble, estimated diameter"
    assert {s.score.used_diameter for s in run_pass(source, samples).scored} == {17.0}
    assert {options["diameter"] for _, _, options in client.requests} == {0}


def test_an_image_the_service_refuses_does_not_stop_the_others():
    samples = [sample("x"), sample("y", objects=1)]
    source, _ = service(samples, [None, samples[1].labels])
    result = run_pass(source, samples)
    assert [scored.sample.name for scored in result.scored] == ["y"]
    assert "no such thing" in result.failures[0].problem


def test_label_images_of_other_programs_are_found(tmp_path):
    samples = [sample("x", "a"), sample("y", "a"), sample("z", "b"), sample("none", objects=0)]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x_masks.png").write_bytes(imagecodecs.png_encode(samples[0].labels))
    tifffile.imwrite(tmp_path / "y_IMG_cp_masks.TIF", samples[1].labels.astype(np.uint32))
    tifffile.imwrite(tmp_path / "z_masks.tif", samples[2].labels[:9])
    (tmp_path / "none_masks.png").write_bytes(imagecodecs.png_encode(samples[3].labels))
    result = run_pass(Folder(tmp_path), [*samples, sample("w", "b")])
    assert {s.sample.name: s.score.precision for s in result.scored} == {"x": 1, "y": 1, "none": 1}
    wrong, missing = (failure.problem for failure in result.failures)
    assert "z_masks.tif: labels of shape (9, 160), the image has (40, 160)" in wrong
    assert "no b/w_masks.png" in missing


def test_label_images_with_a_palette_are_its_indices(tmp_path):
    table = np.random.default_rng(0).integers(0, 65536, (3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "x_masks.tif", sample("x").labels.astype(np.uint8), colormap=table)
    (scored,) = run_pass(Folder(tmp_path), [sample("x")]).scored
    assert scored.score.precision == 1


def test_predictions_that_are_no_labels_are_failures(tmp_path):
    samples = [sample("x"), sample("y")]
    tifffile.imwrite(tmp_path / "x_masks.tif", samples[0].labels / np.float32(2))
    (tmp_path / "y_masks.png").write_bytes(b"no image")
    problems = [failure.problem for failure in run_pass(Folder(tmp_path), samples).failures]
    assert "float32" in problems[0]
    assert "y_masks.png" in problems[1]


def test_the_baseline_and_predictions_need_no_service(tmp_path):
    samples = [sample("x"), sample("none", objects=0)]
    tifffile.imwrite(tmp_path / "x_masks.tif", np.zeros_like(samples[0].labels))
    result = evaluate(samples, address=None, otsu=True, predictions=[tmp_path])
    assert [entry.name for entry in result.passes] == [tmp_path.name, "Otsu + watershed"]
    assert [s.score.precision for s in result.passes[1].scored] == [1, 1]
    assert result.failed == 1


def test_what_cannot_be_evaluated_is_said(tmp_path):
    with pytest.raises(EvaluationError, match="nothing"):
        evaluate([sample("x")], address=None)
    with pytest.raises(EvaluationError, match="absent: no such folder"):
        evaluate([sample("x")], address=None, predictions=[tmp_path / "absent"])


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_120_columns_and_the_json_holds_every_image(width, tmp_path):
    kinds = [Kind.FLUORESCENCE, Kind.HISTOLOGY, Kind.TRANSMITTED]
    samples = [sample(f"image-{k}", "a-set-with-a-name", kind, side=8 + k) for k, kind in enumerate(kinds)]
    outcomes = {s.name: Prediction(s.labels, 10.0 + k) for k, s in enumerate(samples)}
    source, _ = service(samples, [s.labels for s in samples])
    broken = Given(outcomes | {samples[1].name: PredictionError("[it] broke")}, "estimating", estimates=True)
    passes = (run_pass(source, samples), run_pass(Given(outcomes, estimates=True), samples), run_pass(broken, samples))
    evaluation = type(evaluate(samples, address=None, otsu=True))(passes, ("something was left out",))

    text = io.StringIO()
    show(evaluation, Console(file=text, width=width))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 120
    assert not any("…" in line for line in lines)
    assert any(line.startswith("FAILED a-set-with-a-name/image-1: [it] broke") for line in lines)
    assert any("correlation" in line for line in lines)
    assert any("sha256 abababababab" in line for line in lines)
    assert "note: something was left out" in lines

    evaluation.write_json(tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [len(entry["images"]) for entry in figures["passes"]] == [3, 3, 2]
    first = figures["passes"][0]
    assert first["images"][2]["average_precision"] == [1, 1, 1, 1]
    assert first["images"][2]["kind"] == "transmitted"
    assert first["summaries"][-1]["images"] == 3
    assert first["models"][0]["version"] == "1"
    assert figures["passes"][1]["diameters"]["images"] == 3
    assert figures["passes"][2]["failed"][0]["problem"] == "[it] broke"
    assert figures["notes"] == ["something was left out"]
