"""Images that no call can hold: which ones go to the engine, what it is told, and what is printed."""

from __future__ import annotations

import json
from importlib import metadata

import grpc
import numpy as np
import pytest
import tifffile
from cellserve import Client, SegmentParams, engines
from cellserve.cli import connection
from cellserve.engines import LargeSegmentation
from cellserve.errors import refusal
from cellserve.models import ModelVersion
from cellserve.saving import large_results, result_stem
from cellserve_proto import v1 as pb

from tests.unit.client.scripted_server import Service, failure


class Engine:
    """Writes empty results, and remembers what it was told."""

    def __init__(self):
        self.calls = []
        self.error = None

    def __call__(self, source, out, params, **options):
        self.calls.append((source, out, params, dict(options)))
        options["note"]("a note")
        for done in range(3):
            options["progress"]("networks", done, 2)
        if self.error:
            raise self.error
        paths = large_results(out or source.with_name(result_stem(source)))
        if out is None and source.is_dir():
            paths["labels"] = source / "labels" / "cellserve"
        for kind, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir() if kind == "labels" else path.touch()
        model = ModelVersion("generalist", "generalist", "1", "ab" * 32)
        return LargeSegmentation(
            **paths,
            objects=3,
            median_diameter=20.5,
            axes="YX",
            shape=(2000, 3000),
            params=params,
            diameter_source="caller",
            model=model,
            seconds=4.0,
        )


@pytest.fixture
def engine(monkeypatch):
    engine = Engine()

    class Entry:
        def load(self):
            return engine

    monkeypatch.setattr(metadata, "entry_points", lambda group: [Entry()] if group == engines.GROUP else [])
    return engine


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "images" / "plate.ome.zarr"
    folder.mkdir(parents=True)
    (folder / "zarr.json").write_text("{}")
    return folder


class Limited(Service):
    """A server of low limits, which refuses an image of many tiles once it has it."""

    def GetLimits(self, request, context):
        return pb.GetLimitsResponse(limits=pb.Limits(max_image_pixels=10_000))


def test_a_zarr_store_is_an_image_and_goes_to_the_engine(run, service, engine, store, address):
    result = run("segment", store, "--diameter", 12, "--block-size", 256, "--scheduler", "tcp://here:1")
    assert result.exit_code == 0, result.output
    ((source, out, params, options),) = engine.calls
    assert (source, out, params) == (store, None, SegmentParams(diameter=12))
    told = {name: options[name] for name in ("address", "token", "block_size", "scheduler", "concurrency", "priority")}
    assert told == {
        "address": [address],
        "token": None,
        "block_size": 256,
        "scheduler": "tcp://here:1",
        "concurrency": 8,
        "priority": "batch",
    }
    assert "objects   3 objects, median diameter 20.5 px; image 2000 x 3000 px\n" in result.stdout
    assert "time      4.0 s, 1.5 megapixels per second\n" in result.stdout
    assert f"wrote     {store / 'labels' / 'cellserve'}\n" in result.stdout
    assert "a note\nprogress  networks: 0 of 2 blocks\n" in result.stderr
    assert not service.requests


def test_stores_and_slides_of_a_folder_are_images_and_labels_are_none(run, engine, store, image):
    folder = store.parent
    tifffile.imwrite(folder / "a.tif", image)
    (folder / "slide.SVS").touch()
    for name in ("plate_cp_masks.ome.zarr", ".plate.cellserve", ".hidden.zarr"):
        (folder / name).mkdir()
        (folder / name / ".zgroup").touch()
    result = run("segment", folder, "--out", folder.parent / "out", "--json")
    assert result.exit_code == 0, result.output
    records = {json.loads(line)["file"]: json.loads(line) for line in result.stdout.splitlines()}
    assert records.keys() == {str(folder / name) for name in ("a.tif", "plate.ome.zarr", "slide.SVS")}
    record = records[str(store)]
    assert record["files"] == {
        word: [str(folder.parent / "out" / f"plate{ending}")]
        for word, ending in (
            ("masks", "_cp_masks.ome.zarr"),
            ("parquet", "_objects.parquet"),
            ("csv", "_objects.csv"),
            ("overlay", "_overlay.png"),
        )
    }
    assert (record["objects"], record["megapixels_per_s"], record["shape"]) == (3, 1.5, [2000, 3000])
    assert [out for _, out, _, _ in engine.calls] == [folder.parent / "out" / name for name in ("plate", "slide")]
    again = run("segment", folder, "--out", folder.parent / "out", "--skip-existing")
    assert again.stderr.splitlines()[-1] == "0 segmented, 3 skipped, 0 failed"
    assert "left out 1 file" in again.stderr


def test_several_images_have_a_run_folder_each(run, engine, store, tmp_path):
    (store.parent / "slide.svs").touch()
    assert run("segment", store.parent, "--out", tmp_path / "out", "--run-folder", tmp_path / "run").exit_code == 0
    folders = [options["run_folder"] for _, _, _, options in engine.calls]
    assert folders == [tmp_path / "run" / ".plate.cellserve", tmp_path / "run" / ".slide.cellserve"]
    assert run("segment", store, "--run-folder", tmp_path / "run").exit_code == 0
    assert engine.calls[-1][3]["run_folder"] == tmp_path / "run"


def test_labels_in_a_store_count_as_its_results(run, engine, store):
    assert run("segment", store).exit_code == 0
    assert run("segment", store, "--skip-existing").stderr.splitlines()[-1] == "0 segmented, 1 skipped, 0 failed"
    (store / "labels" / "cellserve").rmdir()
    assert run("segment", store, "--skip-existing").exit_code == 0
    assert len(engine.calls) == 2


def test_an_image_over_a_limit_goes_to_the_engine_and_others_do_not(run, serve, engine, tmp_path, image):
    service = Limited()
    large, small = tmp_path / "large.tif", tmp_path / "small.tif"
    tifffile.imwrite(large, np.zeros((200, 100), np.uint8))
    tifffile.imwrite(small, image[:50])
    result = run("segment", large, small, "-a", serve(service))
    assert result.exit_code == 0, result.output
    assert [source for source, _, _, _ in engine.calls] == [large]
    assert len(service.requests) == 1
    assert f"{large}: 3 objects, median diameter 20.5 px, 4.0 s, 1.5 megapixels per second" in result.stdout
    assert result.stderr.splitlines()[-1] == "2 segmented, 0 skipped, 0 failed"


def test_an_image_of_too_many_tiles_goes_to_the_engine(run, serve, engine, tmp_path, image):
    service = Service()
    service.header_failures.append(failure(grpc.StatusCode.INVALID_ARGUMENT, "too many tiles", "IMAGE_TOO_LARGE"))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image)
    result = run("segment", path, "-a", serve(service))
    assert result.exit_code == 0, result.output
    assert [source for source, _, _, _ in engine.calls] == [path]


def test_without_the_libraries_the_message_names_the_extra(run, monkeypatch, store, tmp_path, serve):
    class Entry:
        def load(self):
            raise ModuleNotFoundError("No module named 'zarr'", name="zarr")

    monkeypatch.setattr(metadata, "entry_points", lambda group: [Entry()])
    monkeypatch.setattr("cellserve_contract.extras.missing_packages", lambda extra: ["zarr"])
    result = run("segment", store)
    assert result.exit_code == 1
    assert f"error: {store}: a Zarr store or slide needs zarr, which is not installed." in result.stderr
    assert "pip install 'cellserve[large]'" in result.stderr
    large = tmp_path / "large.tif"
    tifffile.imwrite(large, np.zeros((200, 100), np.uint8))
    result = run("segment", large, "-a", serve(Limited()))
    assert f"{large}: the image has 20,000 pixels; the limit is 10,000" in result.stderr
    assert "Segmenting the image part by part needs zarr" in result.stderr
    assert "[IMAGE_TOO_LARGE]" in result.stderr
    monkeypatch.setattr(metadata, "entry_points", lambda group: [])
    assert "pip install 'cellserve[large]'" in run("segment", store).stderr


def test_an_image_that_fails_fails_alone(run, engine, store, tmp_path):
    engine.error = refusal("the run folder holds another run", "RUN_STOPPED")
    other = tmp_path / "images" / "slide.svs"
    other.touch()
    result = run("segment", store, other)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "0 segmented, 0 skipped, 2 failed"
    assert f"error: {store}: the run folder holds another run [RUN_STOPPED]" in result.stderr


def test_ctrl_c_says_how_to_go_on(run, engine, store):
    engine.error = KeyboardInterrupt()
    (store.parent / ".plate.cellserve").mkdir()
    result = run("segment", store)
    assert result.exit_code == 130
    assert "stopped: 0 segmented, 0 skipped, 0 failed, 1 not done" in result.stderr
    assert f"{store} then goes on where the run was." in result.stderr


def test_certificates_and_token_reach_the_engine_as_bytes(run, engine, store, tmp_path, monkeypatch):
    certificate = tmp_path / "ca.pem"
    certificate.write_bytes(b"-----BEGIN CERTIFICATE-----")

    def plain(address, *, deadline_s, credentials, metadata):
        assert isinstance(credentials, grpc.ChannelCredentials)
        return Client(address, deadline_s=deadline_s)

    monkeypatch.setattr(connection, "Client", plain)
    result = run("--ca", certificate, "--token", "secret", "segment", store)
    assert result.exit_code == 0, result.output
    options = engine.calls[0][3]
    assert (options["tls"], options["token"]) == ((b"-----BEGIN CERTIFICATE-----", None, None), "secret")


def test_words_of_save_that_large_images_have(run, engine, store):
    result = run("segment", store, "--save", "seg,masks,csv,flows", "--fill", "--numbers", "--save", "overlay")
    assert result.exit_code == 0, result.output
    assert "no effect on large images: --save seg,flows, --numbers, --fill\n" in result.stderr
    assert (engine.calls[0][3]["csv"], engine.calls[0][3]["overlay"]) == (True, True)
    result = run("segment", store, "--save", "zarr,parquet")
    assert "no effect" not in result.stderr
    assert (engine.calls[1][3]["csv"], engine.calls[1][3]["overlay"]) == (False, False)
