"""Admission, errors, families and settings."""

from __future__ import annotations

import json

import grpc
import pytest
from cellserve_gateway import errors
from cellserve_gateway.admission import Admission
from cellserve_gateway.errors import Draining, Overloaded, ServiceError
from cellserve_gateway.families import load_families
from cellserve_gateway.metrics import Metrics
from cellserve_gateway.settings import Settings, describe_settings, unknown_settings
from google.rpc import error_details_pb2
from pydantic import ValidationError


def admission(**limits: int) -> tuple[Admission, Metrics]:
    metrics = Metrics()
    return Admission(Settings(**limits), metrics), metrics


def test_admission_counts_and_forgets():
    gate, metrics = admission(max_pixels_in_flight=100)
    with gate.admit(requests=1, pixels=60):
        assert metrics.pixels_in_flight._value.get() == 60
        with pytest.raises(Overloaded) as error, gate.admit(pixels=41):
            pass
        assert error.value.metadata == {"resource": "pixels", "limit": "100"}
        assert error.value.retry_after_s is not None
        with gate.admit(pixels=40):
            assert metrics.pixels_in_flight._value.get() == 100
    assert metrics.pixels_in_flight._value.get() == metrics.requests_in_flight._value.get() == 0


def test_admission_releases_after_failure():
    gate, metrics = admission()
    with pytest.raises(RuntimeError), gate.admit(requests=1, bytes=5):
        raise RuntimeError
    assert metrics.bytes_in_flight._value.get() == 0


def test_what_exceeds_a_limit_alone_is_let_in_alone():
    gate, _ = admission(max_pixels_in_flight=100)
    with gate.admit(pixels=1000), pytest.raises(Overloaded), gate.admit(pixels=1):
        pass


def test_draining_refuses():
    gate, _ = admission()
    gate.drain()
    with pytest.raises(Draining), gate.admit(requests=1):
        pass


def all_errors() -> list[type[ServiceError]]:
    return [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ServiceError)]


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_machine_readable_status(kind):
    status = kind("text", limit=3).to_status()
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.metadata["limit"], status.message) == ("cellserve", "3", "text")
    assert info.reason.isupper()
    assert status.code == kind.code.value[0] != grpc.StatusCode.OK.value[0]
    retries = kind.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert (len(status.details) == 2) == retries, "RetryInfo exactly where a retry makes sense"


def write_family(folder, **changes):
    folder.mkdir()
    content = {
        "family": folder.name,
        "description": "d",
        "diam_mean": 30.0,
        "diam_labels": None,
        "channels": ["cytoplasm", "nucleus"],
        "license": "l",
        "provenance": "p",
        "tile_size": 224,
        "size_model": None,
        "networks": {folder.name: {"sha256": "0" * 64, "weights": "fp16"}},
    }
    (folder / "model.json").write_text(json.dumps(content | changes))


def test_families(tmp_path):
    write_family(tmp_path / "b")
    write_family(tmp_path / "a")
    families = load_families(tmp_path)
    assert list(families) == ["a", "b"]
    assert families["a"].network(ensemble=True) == "a"
    assert families["a"].network(ensemble=False) == "a_single"


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"family": "other"}, "other"), ({"diam_mean": 0}, "diam_mean"), ({"networks": {"a": {"sha256": "x"}}}, "sha256")],
)
def test_bad_families_are_named(tmp_path, changes, text):
    write_family(tmp_path / "a", **changes)
    with pytest.raises(ValueError, match=text):
        load_families(tmp_path)


def test_no_families(tmp_path):
    with pytest.raises(ValueError, match="CELLSERVE_MODEL_REPOSITORY"):
        load_families(tmp_path)


def test_misspelt_settings_are_noticed(monkeypatch):
    monkeypatch.setenv("CELLSERVE_LOG_LEVLE", "debug")
    monkeypatch.setenv("CELLSERVE_LOG_LEVEL", "debug")
    monkeypatch.setenv("CELLSERVE_ADDRESS", "localhost:1")
    assert unknown_settings() == ["CELLSERVE_LOG_LEVLE"]


def test_every_setting_is_described():
    text = describe_settings()
    for name, field in Settings.model_fields.items():
        assert f"CELLSERVE_{name.upper()}=" in text
        assert field.description


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("CELLSERVE_MAX_IMAGE_PIXELS", "1000")
    settings = Settings()
    assert settings.max_image_pixels == 1000
    with pytest.raises(ValidationError):
        settings.max_image_pixels = 2  # type: ignore[misc]
    monkeypatch.setenv("CELLSERVE_MAX_IMAGE_PIXELS", "-1")
    with pytest.raises(ValidationError):
        Settings()
