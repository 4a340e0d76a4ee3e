"""The command line, in this process for what it prints and as a program for its exit status."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version

import grpc
import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve import read_image, retry
from cellserve.cli import outputs
from cellserve_contract import wire
from cellserve_contract.params import SegmentParams

from tests.unit.client.scripted_server import Service, failure, start


def test_one_file(run, service, files, image, tmp_path):
    result = run("segment", files[0], "--diameter", 25, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for part in (
        "objects   3 objects, median diameter",
        "25.0 px (as given)",
        "generalist version 1",
        "abababababab",
        "9 tiles",
    ):
        assert part in result.stdout
    labels = tifffile.imread(tmp_path / "out" / "a_cp_masks.tif")
    np.testing.assert_array_equal(labels > 0, image > 1000)
    assert (tmp_path / "out" / "a_objects.csv").read_text().count("\n") == 4
    overlay = imagecodecs.png_decode((tmp_path / "out" / "a_overlay.png").read_bytes())
    assert overlay.shape == (*image.shape, 3)
    assert "computed  in bfloat16, by onnxruntime\n" in result.stdout
    assert service.requests[0].segment.params.diameter == 25
    assert len(service.requests[0].segment.params.ListFields()) == 1, (
        "defaults are not sent: older servers know fewer parameters"
    )


def test_several_files(run, files, tmp_path):
    result = run("segment", *files, "--save", "masks")
    assert result.exit_code == 0, result.output
    assert sorted(line.partition(": ")[0] for line in result.stdout.splitlines()) == [str(path) for path in files]
    assert result.stderr.splitlines()[-1] == "2 segmented, 0 skipped, 0 failed"
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "b.png", "a_cp_masks.tif", "b_cp_masks.tif"}


def test_results_of_an_earlier_run_are_left_out(run, files, tmp_path):
    run("segment", *files)
    result = run("segment", *sorted(tmp_path.glob("*.[tp]*")))
    assert result.exit_code == 0, result.output
    assert "left out 4 files" in result.stderr
    assert not list(tmp_path.glob("*_cp_masks_cp_masks.tif"))


def test_one_bad_file_does_not_stop_the_others(run, service, files, tmp_path):
    (tmp_path / "bad.tif").write_bytes(b"II*\0junk")
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((3, 8, 8), np.uint8), imagej=True, metadata={"axes": "ZYX"})
    result = run("segment", files[0], tmp_path / "bad.tif", tmp_path / "stack.tif", tmp_path / "none.tif", files[1])
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    errors = result.stderr.splitlines()
    assert sum(line.startswith("error: ") for line in errors) == 3
    assert any("bad.tif: the TIFF file cannot be decoded" in line for line in errors)
    assert any("a z stack" in line for line in errors)
    assert any("none.tif: No such file" in line for line in errors)
    assert errors[-1] == "2 segmented, 0 skipped, 3 failed"
    assert "Traceback" not in result.output


def test_errors_of_the_server(run, service, files):
    service.failures.append(failure(grpc.StatusCode.INVALID_ARGUMENT, "too many tiles", "IMAGE_TOO_LARGE"))
    result = run("segment", *files, "--save", "masks,csv", "--concurrency", 1)
    assert result.exit_code == 1
    assert f"error: {files[0]}: too many tiles. Segmenting the image part by part needs " in result.stderr
    assert "[IMAGE_TOO_LARGE, request " in result.stderr
    assert str(files[1]) in result.stdout


def test_json(run, service, files):
    service.failures.append(failure(grpc.StatusCode.INVALID_ARGUMENT, "no", "IMAGE_EMPTY", got="0"))
    result = run("segment", *files, "--json", "--concurrency", 1)
    assert result.exit_code == 1
    failed, done = [json.loads(line) for line in result.stdout.splitlines()]
    assert failed["file"] == str(files[0])
    assert failed["error"]["reason"] == "IMAGE_EMPTY"
    assert failed["error"]["metadata"] == {"got": "0"}
    assert (done["file"], done["objects"]) == (str(files[1]), 3)
    assert done["params"]["normalization"] == {"rule": "percentiles", "low": 1.0, "high": 99.0, "invert": False}
    folder = files[1].parent
    assert done["files"] == {
        "masks": [str(folder / "b_cp_masks.tif")],
        "csv": [str(folder / "b_objects.csv")],
        "overlay": [str(folder / "b_overlay.png")],
    }
    assert (done["model"]["precision"], done["model"]["runtime"]) == ("bfloat16", "onnxruntime")
    assert isinstance(done["warnings"], list)


def test_all_parameters_arrive(run, service, files):
    options = (
        "--model generalist --single --diameter 20 --cytoplasm-channel 0 --nucleus-channel -1 "
        "--normalization range:100,4000 --invert --tile-overlap 0.2 --augment --cellprob-threshold -1 "
        "--flow-threshold 0 --niter 50 --interpolation nearest --min-size 5 --max-size-fraction 0.9 "
        "--no-fill-holes --exclude-on-edges --mask-rules cellpose3 --stitch --anisotropy 2 "
        "--min-volume-fraction 0 --view-weight 1 --view-smoothing 0 --tile-margin cellpose3 "
        "--resample-stack --sum-views --stitch-threshold 0.5 --priority acquisition --compression zlib"
    )
    assert run("segment", files[0], *options.split()).exit_code == 0
    request = service.requests[0].segment
    params = request.params
    assert len(params.ListFields()) == len(params.DESCRIPTOR.fields)
    assert (params.ensemble, params.nucleus_channel, params.cellprob_threshold, params.flow_threshold) == (
        False,
        -1,
        -1,
        0,
    )
    assert (params.normalization.ranges.ranges[0].high, params.normalization.invert, params.interpolation) == (
        4000,
        True,
        1,
    )
    assert (params.fill_holes, params.exclude_on_edges, params.augment) == (False, True, True)
    assert params.mask_rules == 2
    assert (request.priority, request.compression) == (1, 2)


def test_options_win_over_the_preset(run, service, files):
    assert run("segment", files[0], "--preset", "cellpose3", "--tile-margin", "fixed", "--invert").exit_code == 0
    assert run("segment", files[0], "--preset", "cellpose3", "--normalization", "off").exit_code == 0
    first, second = (wire.read_params(request.segment.params) for request in service.requests)
    expected = SegmentParams.preset("cellpose3", tile_margin="fixed")
    assert first == replace(expected, normalization=replace(expected.normalization, invert=True))
    assert second == SegmentParams.preset("cellpose3", normalization="off")


def test_parameters_out_of_range_are_wrong_usage(run, service, files):
    result = run("segment", files[0], "--niter", 0)
    assert result.exit_code == 2
    assert "Invalid value for '--niter': 0; allowed: 1 to 10000" in result.stderr
    assert not service.requests


@pytest.mark.parametrize("text", ["range", "range:1", "range:a,b", "off:1", "sometimes", "percentiles:1,2,3"])
def test_senseless_normalizations(run, files, text):
    result = run("segment", files[0], "--normalization", text)
    assert result.exit_code == 2
    assert "allowed: percentiles:LOW,HIGH" in result.stderr


def test_a_file_given_twice_is_segmented_once(run, files):
    result = run("segment", files[0], files[1], files[0])
    assert result.exit_code == 0
    assert "1 file was given twice" in result.stderr
    assert "2 segmented" in result.stderr


@pytest.mark.parametrize("command", ["segment", "diameter"])
@pytest.mark.parametrize("as_json", [True, False])
def test_whatever_goes_wrong_with_one_file_the_others_are_done(run, files, monkeypatch, command, as_json):
    commands = importlib.import_module(f"cellserve.cli.{command}")
    real = commands.read_image

    def read(path, *arguments, **options):
        if path == files[0]:
            raise RecursionError("a bug")
        return real(path, *arguments, **options)

    monkeypatch.setattr(commands, "read_image", read)
    json_option = ["--json"] if as_json else []
    result = run(command, *files, *json_option)
    assert result.exit_code == 1
    assert str(files[1]) in result.stdout
    assert "unforeseen RecursionError: a bug" in (result.stdout if json_option else result.stderr)
    assert "CLIENT_FAILED" in result.output
    assert "Traceback" not in result.output
    assert 'raise RecursionError("a bug")' in run("--traceback", command, *files, *json_option).stderr


def test_whatever_goes_wrong_with_one_result_the_others_are_written(run, files, monkeypatch, tmp_path):
    real = outputs.make_files

    def make(result, stem, words, image, **options):
        made = real(result, stem, words, image, **options)
        if image.name.startswith("a."):
            raise TypeError("a bug")
        return made

    monkeypatch.setattr(outputs, "make_files", make)
    result = run("segment", *files, "--concurrency", 1)
    assert result.exit_code == 1
    assert f"error: {files[0]}: unforeseen TypeError: a bug [CLIENT_FAILED]" in result.stderr
    assert "1 segmented, 0 skipped, 1 failed" in result.stderr
    assert (tmp_path / "b_overlay.png").exists()
    assert not list(tmp_path.glob("a_*")), "all results of an image, or none"


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float16])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_images_of_any_type_and_layout(run, image, tmp_path, dtype, shape):
    """Planes first, or types that the service itself does not take."""
    pixels = np.broadcast_to((image > 1000).astype(dtype), (*shape, *image.shape))
    tifffile.imwrite(tmp_path / "odd.tif", pixels, photometric="minisblack")
    tifffile.imwrite(tmp_path / "plain.tif", image)
    result = run("segment", tmp_path / "odd.tif", tmp_path / "plain.tif", "--axes", "CYX", "--concurrency", 1)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "odd_overlay.png").exists()


AWKWARD = ":a:[red]:smile: \t\u00b5 \udce9.tif"


def test_names_are_printed_as_they_are(run, image, tmp_path):
    folder = tmp_path / ":b:[bold]"
    folder.mkdir()
    path = folder / AWKWARD.replace("\udce9", "")
    tifffile.imwrite(path, image)
    out = tmp_path / ":out:"
    assert f"wrote     {out}/:a:[red]:smile:" in run("segment", path, "--out", out).stdout
    assert json.loads(run("segment", path, "--json").stdout)["file"] == str(path)
    assert run("segment", path, path.with_name("missing.tif")).stdout.startswith(f"{path}: 3 objects")
    assert run("diameter", path).stdout.startswith(f"{path}: 30.1 px")
    assert f"error: {folder}/:c:.tif: No such file" in run("segment", folder / ":c:.tif").stderr


@pytest.mark.parametrize(
    ("command", "encoding"),
    [("segment", "ascii"), ("segment --json", "ascii"), ("diameter", "ascii"), ("segment", "utf-8")],
)
def test_names_that_a_locale_cannot_print(address, image, tmp_path, command, encoding):
    path = tmp_path / AWKWARD
    tifffile.imwrite(path, image)
    tifffile.imwrite(tmp_path / "b.tif", image)
    line = [sys.executable, "-c", "from cellserve.cli import app; app()", *command.split(), "-a", address]
    locale = {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONIOENCODING": f"{encoding}:strict"}
    done = subprocess.run(
        [*line, path, tmp_path / "b.tif", tmp_path / "no\udce9"],
        env=os.environ | locale,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.count(b"\n") == 2 + ("--json" in command)
    assert b"No such file" in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr
    if "--json" in command:
        names = [json.loads(line)["file"] for line in done.stdout.splitlines()]
        assert os.fsencode(path) in [name.encode(errors="surrogateescape") for name in names]


def test_one_of_several_images(run, image, tmp_path):
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(image, metadata=None)
        file.write(image[:50], metadata=None)
    refused = run("segment", tmp_path / "two.tif")
    assert refused.exit_code == 1
    assert "holds 2 images" in refused.stderr
    assert "--series" in refused.stderr
    assert run("segment", tmp_path / "two.tif", "--series", 1).exit_code == 0
    assert tifffile.imread(tmp_path / "two_cp_masks.tif").shape == (50, image.shape[1])
    assert run("diameter", tmp_path / "two.tif", "--series", 0).exit_code == 0


def test_results_have_the_pixel_size(run, image, tmp_path):
    path = tmp_path / "sized.tif"
    tifffile.imwrite(path, image, imagej=True, resolution=(4, 2), metadata={"axes": "YX", "unit": "um"})
    (record,) = [json.loads(line) for line in run("segment", path, "--json").stdout.splitlines()]
    assert record["pixel_size_um"] == {"y": 0.5, "x": 0.25, "z": None}
    assert (tmp_path / "sized_objects.csv").read_text().splitlines()[1].endswith(",0.5,0.25")
    for name in ("sized_cp_masks.tif", "sized_overlay.png"):
        assert read_image(tmp_path / name).pixel_size == pytest.approx((0.5, 0.25, None))


def test_shared_result_names_are_wrong_usage(run, files, tmp_path):
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((9, 9), np.uint8))
    result = run("segment", *files, tmp_path / "b.tif")
    assert result.exit_code == 2
    assert "would both write" in result.stderr
    assert not list(tmp_path.glob("*_cp_masks.tif"))


def test_unwritable_folder(run, service, files, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder, said in (
        ("file", "is a file; name a folder"),
        ("file/folder", "cannot write into"),
        ("n" * 300, "too long"),
    ):
        result = run("segment", files[0], "--out", tmp_path / folder)
        assert result.exit_code == 2
        assert said in result.stderr
        assert not service.requests
    assert "Traceback" not in result.output


def test_models_health_diameter(run, files):
    listed = run("models")
    assert listed.exit_code == 0
    assert "generalist *" in listed.stdout
    assert "BSD-3-Clause" in listed.stdout
    assert run("health").stdout == "SERVING\n"
    sized = run("diameter", *files)
    assert sized.exit_code == 0
    assert sized.stdout.count("30.1 px (mean of the objects that the model was trained on") == 2


def test_exit_status_of_health(run, monkeypatch):
    monkeypatch.setattr(retry, "FIRST_CONTACT_S", 0.2)
    server, health, port = start(Service())
    try:
        serving = run("health", "-a", f"127.0.0.1:{port}")
        assert (serving.exit_code, serving.stdout, serving.stderr) == (0, "SERVING\n", "")
        both = run("health", "-a", f"127.0.0.1:{port}", "-a", f"localhost:{port}")
        assert both.stdout == f"127.0.0.1:{port}: SERVING\nlocalhost:{port}: SERVING\n"
        health.set("", 2)
        resting = run("health", "-a", f"127.0.0.1:{port}")
        assert (resting.exit_code, resting.stdout) == (1, "NOT_SERVING\n")
    finally:
        server.stop(None).wait()
    gone = run("health", "-a", f"127.0.0.1:{port}")
    assert (gone.exit_code, gone.stdout) == (1, "")
    assert gone.stderr.startswith(f"error: no server answers at 127.0.0.1:{port} (")


def test_exit_status_of_segment(run, files, monkeypatch):
    monkeypatch.setattr(retry, "FIRST_CONTACT_S", 0.2)
    assert run("segment", files[0]).exit_code == 0
    assert run("segment", files[0], "missing.tif").exit_code == 1
    assert run("segment").exit_code == 2
    assert run("segment", "-a", "no:such:address", files[0]).exit_code == 1
    gone = run("segment", "-a", "127.0.0.1:1", *files)
    assert gone.exit_code == 1
    assert gone.stderr.count("error: no server answers at") == 1, "once, not for every file"
    assert "segmented" not in gone.stderr


def test_version():
    command = [sys.executable, "-m", "cellserve", "--version"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stdout) == (0, f"{version('cellserve')}\n")
    full = subprocess.run(
        f"{sys.executable} -m cellserve --version > /dev/full",
        shell=True, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (full.returncode, full.stderr) == (1, "error: cannot print: No space left on device\n")


@pytest.mark.parametrize(
    ("redirection", "status", "said"), [(">&-", 0, ""), (">/dev/full", 1, "error: cannot print: No space left")]
)
def test_a_standard_output_that_is_closed_or_full(address, files, tmp_path, redirection, status, said):
    """A daemon has none; a log can fill its disk."""
    command = f"{sys.executable} -m cellserve segment --address {address} --out {tmp_path / 'out'} {files[0]}"
    done = subprocess.run(
        f"{command} {redirection}", shell=True, stderr=subprocess.PIPE, text=True, timeout=120, check=False
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert said in done.stderr
    assert (tmp_path / "out" / "a_cp_masks.tif").exists()
