"""Admission, errors, families and settings."""

from __future__ import annotations

import json

import pytest
from cellserve_contract.model_card import SizeModelNumbers
from cellserve_gateway import errors
from cellserve_gateway.app.admission import Admission
from cellserve_gateway.app.families import Families
from cellserve_gateway.errors import Code, Draining, Overloaded, ServiceError
from cellserve_gateway.fronts.grpc.status import to_status
from cellserve_gateway.ops.metrics import Metrics
from cellserve_gateway.settings import Settings, describe_settings, refuse_unknown_settings
from google.rpc import error_details_pb2
from pydantic import ValidationError


def admission(**limits: int) -> tuple[Admission, Metrics]:
    metrics = Metrics()
    return Admission(Settings(**limits), metrics), metrics


def test_admission_counts_and_forgets():
    gate, metrics = admission(max_pixels_in_flight=100)
    with gate.admit(requests=1, pixels=60):
        assert metrics.in_flight.labels("pixels")._value.get() == 60
        with pytest.raises(Overloaded) as error, gate.admit(pixels=41):
            pass
        assert error.value.metadata == {"resource": "pixels", "limit": "100"}
        assert error.value.retry_after_s is not None
        with gate.admit(pixels=40):
            assert metrics.in_flight.labels("pixels")._value.get() == 100
    assert metrics.in_flight.labels("pixels")._value.get() == metrics.in_flight.labels("requests")._value.get() == 0


def test_admission_releases_after_failure():
    gate, metrics = admission()
    with pytest.raises(RuntimeError), gate.admit(requests=1, bytes=5):
        raise RuntimeError
    assert metrics.in_flight.labels("bytes")._value.get() == 0


def test_what_exceeds_a_limit_alone_is_let_in_alone():
    gate, _ = admission(max_pixels_in_flight=100)
    with gate.admit(pixels=1000), pytest.raises(Overloaded), gate.admit(pixels=1):
        pass


def test_a_reservation_changes_within_the_limit():
    gate, metrics = admission(max_pixels_in_flight=100)
    with gate.admit(pixels=60), gate.admit(pixels=10) as reservation:
        reservation.resize(pixels=40)
        with pytest.raises(Overloaded) as error:
            reservation.resize(pixels=41)
        assert "60 pixels are in flight" in error.value.message
        assert metrics.in_flight.labels("pixels")._value.get() == 100, "a refused change changes nothing"
        reservation.resize(pixels=5)
        assert metrics.in_flight.labels("pixels")._value.get() == 65
    assert metrics.in_flight.labels("pixels")._value.get() == 0


def test_a_reservation_alone_may_exceed_the_limit():
    gate, metrics = admission(max_pixels_in_flight=100)
    with gate.admit(pixels=10) as reservation:
        reservation.resize(pixels=1000)
    assert metrics.in_flight.labels("pixels")._value.get() == 0


def test_draining_refuses():
    gate, _ = admission()
    with gate.admit(requests=1, pixels=5) as accepted:
        gate.drain()
        with pytest.raises(Draining), gate.admit(requests=1):
            pass
        accepted.resize(pixels=50)


def all_errors() -> list[type[ServiceError]]:
    return [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ServiceError)]


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_machine_readable_status(kind):
    status = to_status(kind("text", limit=3))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.metadata["limit"], status.message) == ("cellserve", "3", "text")
    assert info.reason.isupper()
    assert status.code == kind.code.value != 0
    retries = kind.code in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED)
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
    families = Families.load(tmp_path, "a")
    assert list(families) == ["a", "b"]
    assert families["a"].network(ensemble=True) == "a"
    assert families["a"].network(ensemble=False) == "a_single"


SIZES = {"coefficients": [0.5] * 256, "style_mean": [0.25] * 256, "log_diameter_mean": -0.5, "diam_mean": 30}


def test_a_family_with_a_size_model(tmp_path):
    networks = {name: {"sha256": "0" * 64} for name in ("a", "a_single", "a_style")}
    write_family(tmp_path / "a", size_model=SIZES, networks=networks)
    family = Families.load(tmp_path, "a")["a"]
    assert family.size_model == SizeModelNumbers((0.5,) * 256, (0.25,) * 256, -0.5, 30.0)
    assert family.style_network == "a_style"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"family": "other"}, "other"),
        ({"diam_mean": 0}, "diam_mean"),
        ({"networks": {"a": {"sha256": "x"}}}, "sha256"),
        ({"size_model": SIZES}, "size model needs the network a_single and a_style"),
        ({"size_model": SIZES | {"coefficients": [0.5] * 255}}, "coefficients.*256 finite numbers"),
        ({"size_model": SIZES | {"style_mean": [float("nan")] * 256}}, "style_mean.*256 finite numbers"),
        ({"size_model": {"coefficients": [0.5] * 256}}, "style_mean"),
    ],
)
def test_bad_families_are_named(tmp_path, changes, text):
    write_family(tmp_path / "a", **changes)
    with pytest.raises(ValueError, match=text):
        Families.load(tmp_path, "a")


def test_a_default_family_that_is_not_there_is_named_with_its_setting(tmp_path):
    for name in ("b", "a"):
        write_family(tmp_path / name)
    with pytest.raises(ValueError, match="no model family 'c', which CELLSERVE_DEFAULT_MODEL names; there is a, b:"):
        Families.load(tmp_path, "c")


def test_no_families(tmp_path):
    with pytest.raises(ValueError, match="CELLSERVE_MODEL_REPOSITORY"):
        Families.load(tmp_path, "a")


def test_unknown_settings_are_refused_with_the_nearest_name(monkeypatch):
    monkeypatch.setenv("CELLSERVE_LOG_LEVEL", "debug")
    monkeypatch.setenv("CELLSERVE_ADDRESS", "localhost:1")
    refuse_unknown_settings()
    monkeypatch.setenv("CELLSERVE_LOG_LEVLE", "debug")
    monkeypatch.setenv("CELLSERVE_MONITOR_PORT", "9464")
    with pytest.raises(
        ValueError, match="CELLSERVE_LOG_LEVLE is not a setting; the nearest is CELLSERVE_LOG_LEVEL;"
    ) as e:
        refuse_unknown_settings()
    assert "the nearest is CELLSERVE_MONITORING_PORT" in str(e.value)


def test_service_links_of_kubernetes_are_no_settings(monkeypatch):
    for name, value in {
        "CELLSERVE_SERVICE_HOST": "10.0.0.1",
        "CELLSERVE_GATEWAY_SERVICE_PORT_GRPC": "50051",
        "CELLSERVE_GATEWAY_PORT": "tcp://10.0.0.1:50051",
        "CELLSERVE_GATEWAY_PORT_50051_TCP_ADDR": "10.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    refuse_unknown_settings()


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
