"""The public interface of the gateway, tested once per front from one source."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cellserve import retry
from cellserve_contract.objects import columns
from cellserve_contract.params import PARAMETERS
from cellserve_proto import v1 as pb

from .fronts import CALLERS, Caller, RefusedError, disks, png, tiff

TOKEN = "a-token-of-the-tests-0123"
FAST = {"ensemble": False, "diameter": 30}


@pytest.fixture(params=CALLERS, scope="module")
def make_caller(request):
    """Makes callers of one front."""
    return CALLERS[request.param]


@pytest.fixture(scope="module")
def opened(triton, start_gateway):
    """A gateway with both fronts open, without tokens."""
    return start_gateway(triton.grpc, http_port=0, max_image_pixels=1_000_000)


@pytest.fixture(scope="module")
def caller(opened, make_caller) -> Caller:
    return make_caller(opened)


@pytest.fixture(scope="module")
def guarded(triton, start_gateway, tmp_path_factory):
    """A gateway whose callers need a token."""
    tokens = tmp_path_factory.mktemp("secrets") / "tokens"
    tokens.write_text(f"alice {TOKEN}\n")
    return start_gateway(triton.grpc, serving=False, http_port=0, tokens_file=tokens)


@pytest.fixture(scope="module")
def narrow(slow_triton, start_gateway):
    """A gateway that takes one image at a time, and takes its time for the image."""
    return start_gateway(slow_triton.grpc, http_port=0, max_requests_in_flight=1)


def refused(call, *args, **kwargs) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        call(*args, **kwargs)
    return caught.value


def test_drawn_objects_are_found(caller):
    answer = caller.segment(png(disks(7)), **FAST)
    assert answer.labels.shape == (60, 420)
    assert answer.labels.max() == len(answer.objects) == 7
    assert not answer.warnings
    for row in answer.objects:
        assert list(row) == [column.name for column in columns()]
        assert row["equivalent_diameter_area"] == pytest.approx(30, rel=0.1)
        assert answer.labels[round(row["centroid-0"]), round(row["centroid-1"])] == row["label"]
        box = answer.labels[row["bbox-0"] : row["bbox-2"], row["bbox-1"] : row["bbox-3"]]
        assert (box == row["label"]).sum() == row["area"] == (answer.labels == row["label"]).sum()


def test_all_callers_get_the_same_answer(opened, image):
    file = png(image("nuclei_fluorescence")[:300, :400].copy())
    ours, *others = (make(opened).segment(file, request_id="same", **FAST) for make in CALLERS.values())
    assert ours.labels.max() > 20
    for theirs in others:
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        assert len(ours.objects) == len(theirs.objects)
        for row, other in zip(ours.objects, theirs.objects, strict=True):
            assert row == pytest.approx(other)
        assert ours.params == theirs.params
        assert (ours.diameter_source, ours.sha256, ours.request_id) == (
            theirs.diameter_source,
            theirs.sha256,
            theirs.request_id,
        )


def test_the_parameters_as_used_come_back(caller):
    answer = caller.segment(png(disks(2)), min_size=20, normalization="percentiles:2,98", **FAST)
    assert answer.params.keys() == PARAMETERS.keys() - {"stack_mode", "anisotropy"}, "of stacks"
    assert (answer.params["min_size"], answer.params["diameter"]) == (20, 30)
    assert answer.params["normalization"] == "percentiles:2,98"
    assert (answer.params["cytoplasm_channel"], answer.params["nucleus_channel"]) == (0, -1), "resolved"
    assert answer.diameter_source == "caller"


def test_an_answer_says_what_computed_it(caller):
    precision, runtime = caller.segment(png(disks(2)), **FAST).computed
    assert precision == "float32", "the tiny networks ask for it"
    assert re.fullmatch(r"openvino \d+\.\d+\.\d+", runtime)


def test_a_request_is_found_in_the_log(opened, caller, make_caller):
    name = f"microscope-3-{make_caller.__name__}"
    assert caller.segment(png(disks(1)), request_id=name, **FAST).request_id == name
    assert f'"request_id": "{name}"' in opened.log.read_text()


def test_an_empty_result_says_so(caller):
    answer = caller.segment(png(np.full((50, 50), 9, np.uint8)), **FAST)
    assert answer.labels.max() == 0
    assert answer.warnings == ["constant_plane", "nothing_found"]


def test_diameters_are_estimated(caller):
    diameter, source = caller.diameter(png(disks(6, 40)))
    assert source == "size_model"
    assert diameter == pytest.approx(40, rel=0.1)
    assert caller.segment(png(disks(6, 40)), ensemble=False).diameter_source == "size_model"


def test_models_are_listed(caller):
    assert caller.models() == {"generalist": True}


def test_limits_are_told(opened, caller):
    limits = caller.limits()
    assert limits == CALLERS["http"](opened).limits()
    assert (limits["max_image_pixels"], limits["max_planes"]) == (1_000_000, 16)
    assert set(limits) == {field.name for field in pb.Limits.DESCRIPTOR.fields} | {"server_version"}


@pytest.mark.parametrize(
    ("file", "params", "code", "reason", "facts"),
    [
        (png(disks(1)), {"model": "nobody"}, "NOT_FOUND", "MODEL_UNKNOWN", {"available": "generalist"}),
        (
            png(disks(1)),
            {"cytoplasm_channel": 1},
            "INVALID_ARGUMENT",
            "PARAMETER_OUT_OF_RANGE",
            {"parameter": "cytoplasm_channel"},
        ),
        (b"GIF89a, not an image", {}, "INVALID_ARGUMENT", "IMAGE_UNDECODABLE", {}),
        (png(disks(1))[:99], {}, "INVALID_ARGUMENT", "IMAGE_UNDECODABLE", {}),
        (png(np.zeros((1001, 1000), np.uint8)), {}, "INVALID_ARGUMENT", "IMAGE_TOO_LARGE", {"limit": "1000000"}),
        (tiff(np.zeros((17, 9, 9), np.uint8)), {}, "INVALID_ARGUMENT", "IMAGE_TOO_LARGE", {"resource": "channels"}),
        (png(disks(1)), {"work_budget_s": 1e-6}, "DEADLINE_EXCEEDED", "WORK_BUDGET_EXCEEDED", {}),
    ],
    ids=["model", "channel", "no image", "damaged", "pixels", "channels", "work budget"],
)
def test_refusals_have_a_reason(caller, file, params, code, reason, facts):
    error = refused(caller.segment, file, **FAST | params)
    assert (error.code, error.reason) == (code, reason)
    assert error.metadata.items() >= facts.items()
    assert error.retry_after_s is None


@pytest.mark.parametrize("name", ["x" * 129, "two\tcolumns"])
def test_names_that_no_log_should_have(caller, name):
    assert refused(caller.segment, png(disks(1)), request_id=name, **FAST).reason == "FIELD_INVALID"


def test_a_full_gateway_invites_a_retry(narrow, make_caller, monkeypatch):
    monkeypatch.setattr(retry, "is_transient", lambda error: False)  # the Python client would accept the invitation
    file = png(disks(40))

    def attempt(_: int) -> RefusedError | None:
        try:
            make_caller(narrow).segment(file, ensemble=False, diameter=12)
        except RefusedError as error:
            return error
        return None

    with ThreadPoolExecutor(4) as pool:
        errors = [error for error in pool.map(attempt, range(4)) if error]
    assert {(error.code, error.reason) for error in errors} == {("RESOURCE_EXHAUSTED", "GATEWAY_FULL")}
    assert all(error.retry_after_s for error in errors)
    assert len(errors) < 4, "one is served"


def test_work_ends_when_its_caller_leaves(narrow, make_caller, in_flight):
    began = time.monotonic()
    make_caller(narrow).give_up(png(disks(200)), 0.5, ensemble=False, diameter=8)
    while in_flight(narrow) != {"requests": 0, "pixels": 0, "bytes": 0}:
        assert time.monotonic() < began + 5
        time.sleep(0.05)


@pytest.mark.parametrize(("token", "reason"), [(None, "TOKEN_MISSING"), ("b" * 24, "TOKEN_UNKNOWN")])
def test_every_call_needs_the_token(guarded, make_caller, token, reason):
    stranger, file = make_caller(guarded, token), png(disks(1))
    for call in (
        lambda: stranger.segment(file, **FAST),
        lambda: stranger.diameter(file),
        stranger.models,
        stranger.limits,
    ):
        error = refused(call)
        assert (error.code, error.reason) == ("UNAUTHENTICATED", reason)


def test_the_token_lets_in(guarded, make_caller):
    deadline = time.monotonic() + 60
    while not make_caller(guarded, TOKEN).models()["generalist"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    make_caller(guarded, TOKEN).segment(png(disks(1)), **FAST)
    assert '"caller": "alice"' in guarded.log.read_text()


def test_calls_are_counted(opened, caller, make_caller, scrape):
    method = {
        "GrpcCaller": "Segment",
        "ChunkedGrpcCaller": "SegmentLarge",
        "HttpCaller": "POST /v1/segment",
    }[make_caller.__name__]
    before = scrape(opened)
    refused(caller.segment, png(disks(1))[:99])
    after = scrape(opened)
    for name in (
        f'cellserve_errors_total{{method="{method}",reason="IMAGE_UNDECODABLE"}}',
        f'cellserve_requests_total{{code="INVALID_ARGUMENT",method="{method}"}}',
    ):
        assert after[name] == before.get(name, 0) + 1
