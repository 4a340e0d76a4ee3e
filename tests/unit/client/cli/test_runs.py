"""Runs over many images: checks before the first upload, images that are skipped, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_proto import v1 as pb

from tests.unit.client.scripted_server import MODEL, Service


def images(folder, image, names="abc"):
    paths = [folder / f"{name}.tif" for name in names]
    for path in paths:
        tifffile.imwrite(path, image)
    return paths


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--diameter", "-5"], "Invalid value for '--diameter': -5.0; allowed: 1 to 10000 pixels"),
        (["--diameter", "nan"], "Invalid value for '--diameter': nan"),
        (["--model", "generalis"], "the server has no model 'generalis', only generalist; did you mean 'generalist'?"),
        (["--volume", "--planes"], "--volume and --planes exclude each other"),
        (["--axes", "CYQ"], "allowed are distinct letters"),
        (["--axes", "C"], "Y and X must be among them"),
        (["--numbers", "--save", "masks,csv"], "--numbers and --fill change the overlay"),
        (["--save", "masks,roi"], "there is no result file 'roi'; did you mean 'rois'? Known: masks, png, zarr, seg"),
        (["--save", ","], "name at least one of masks, png"),
    ],
)
def test_wrong_options_are_refused_once_before_an_image_is_read(run, service, tmp_path, image, arguments, said):
    paths = images(tmp_path, image)
    result = run("segment", *paths, *arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.count(said) == 1
    assert not service.requests
    assert not list(tmp_path.glob("*_cp_masks.tif"))


class Small(Service):
    """A server with a family without nuclei, and with low limits."""

    def ListModels(self, request, context):
        bodies = pb.Model(name="bodies", channels=["cytoplasm"])
        return pb.ListModelsResponse(models=[MODEL, bodies], default_model="generalist")

    def GetLimits(self, request, context):
        return pb.GetLimitsResponse(limits=pb.Limits(max_image_pixels=10_000, max_deadline_s=20))


@pytest.mark.parametrize("command", ["segment", "diameter"])
def test_a_family_without_nuclei_takes_no_nucleus_channel(run, serve, tmp_path, image, command):
    service = Small()
    (path,) = images(tmp_path, image, "a")
    result = run(command, path, "--model", "bodies", "--nucleus-channel", 0, "-a", serve(service))
    assert result.exit_code == 2
    said = "Invalid value for '--nucleus-channel': 0; allowed: -1, since 'bodies' was trained without nuclei"
    assert said in result.stderr
    assert not service.requests


@pytest.mark.parametrize("command", ["segment", "diameter"])
def test_limits_are_known_before_the_upload(run, serve, tmp_path, image, command):
    service = Small()
    server = ("-a", serve(service))
    (large,) = images(tmp_path, image, "a")
    (small,) = images(tmp_path, image[:50], "b")
    result = run(command, large, small, "--deadline-s", 60, *server)
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith(f"error: {large}: ")]
    assert "the limit is 10,000" in line
    assert "IMAGE_TOO_LARGE" in line
    assert result.stderr.count("the server works on an image for 20 s at most") == 1
    assert len(service.requests) == 1
    assert "the server works on" not in run(command, small, "--deadline-s", 20, *server).stderr


@pytest.mark.parametrize("command", ["segment", "diameter"])
def test_four_channels_have_to_be_named_before_the_upload(run, service, tmp_path, image, command):
    path = tmp_path / "four.tif"
    tifffile.imwrite(path, np.stack([image] * 4), imagej=True, metadata={"axes": "CYX"})
    result = run(command, path)
    assert result.exit_code == 1
    assert f"{path}: --cytoplasm-channel is not set; allowed: 0 to 3, the plane that shows cells" in result.stderr
    assert "; --nucleus-channel names a plane that shows nuclei, if there is one" in result.stderr
    assert not service.requests
    assert run(command, path, "--cytoplasm-channel", 2).exit_code == 0
    assert "cytoplasm-channel is 4; allowed: -1 to 3" in run(command, path, "--cytoplasm-channel", 4).stderr


def test_the_output_says_which_plane_was_taken_for_what(run, tmp_path, image):
    path, (grey,) = tmp_path / "two.tif", images(tmp_path, image, "a")
    tifffile.imwrite(path, np.stack([image] * 2), imagej=True, metadata={"axes": "CYX"})
    channels = ["--cytoplasm-channel", 0, "--nucleus-channel", 1]
    assert "\nchannels  cells in plane 0 of 2, nuclei in plane 1\n" in run("segment", path, *channels).stdout
    assert "\nchannels  cells in plane 0 of 2, nuclei in plane 1\n" in run("segment", path).stdout
    assert "nuclei in no plane\n" in run("segment", path, "--cytoplasm-channel", 0).stdout
    assert "the mean of 2 planes" in run("segment", path, "--cytoplasm-channel", -1, "--nucleus-channel", -1).stdout
    lines = run("segment", path, grey, "--nucleus-channel", -1, "--cytoplasm-channel", 0).stdout.splitlines()
    assert sum("; cells in plane 0 of 2, nuclei in no plane" in line for line in lines) == 1
    assert "channels" not in run("segment", grey).stdout, "one plane needs no word"
    record = json.loads(run("segment", path, "--json", *channels).stdout)
    assert (record["planes"], record["params"]["nucleus_channel"]) == (2, 1)


def test_diameters_as_json_several_at_a_time(serve, run, tmp_path, image):
    service = Service(delay_s=0.3)
    paths = images(tmp_path, image, "abcd")
    (tmp_path / "e.tif").write_bytes(b"II*\0")
    result = run("diameter", *paths, tmp_path / "e.tif", "--json", "--address", serve(service), "--concurrency", 3)
    assert result.exit_code == 1
    assert service.most_running == 3
    records = {record["file"]: record for record in map(json.loads, result.stdout.splitlines())}
    assert records.keys() == {*map(str, paths), str(tmp_path / "e.tif")}
    done = records[str(paths[0])]
    assert done["diameter"] == pytest.approx(30.1)
    assert done["diameter_source"] == "training_diameter"
    assert records[str(tmp_path / "e.tif")]["error"]["reason"] == "IMAGE_UNDECODABLE"
    assert result.stderr.splitlines()[-1] == "4 measured, 1 failed"


def test_results_that_are_there_are_skipped(run, service, tmp_path, image):
    paths = images(tmp_path, image)
    assert run("segment", *paths[:2]).exit_code == 0
    (tmp_path / "b_objects.csv").unlink()
    service.requests.clear()
    again = run("segment", tmp_path, "--skip-existing")
    assert again.exit_code == 0, again.output
    assert again.stderr.splitlines()[-1] == "2 segmented, 1 skipped, 0 failed"
    assert [line.partition(": ")[0] for line in sorted(again.stdout.splitlines())] == [str(path) for path in paths[1:]]
    assert len(service.requests) == 2
    assert run("segment", tmp_path, "--skip-existing").stderr.splitlines()[-1] == "0 segmented, 3 skipped, 0 failed"
    assert len(service.requests) == 2
    assert "3 segmented, 0 skipped" in run("segment", tmp_path, "--skip-existing", "--save", "masks,flows").stderr


def test_a_folder_that_cannot_be_written_fails_its_images_before_the_upload(run, service, monkeypatch, tmp_path, image):
    bad, good = tmp_path / "bad", tmp_path / "good"
    for folder in (bad, good):
        folder.mkdir()
        images(folder, image, "a")
    from cellserve.cli import outputs

    def refuse(folder):
        if folder == bad:
            raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(outputs, "_try_to_write", refuse)
    result = run("segment", bad, good)
    assert result.exit_code == 1
    assert f"cannot write into {bad}: Permission denied; choose another folder with --out" in result.stderr
    assert len(service.requests) == 1


def test_pictures_and_numbers_on_request(run, tmp_path, image):
    (path,) = images(tmp_path, image, "a")
    assert run("segment", path).exit_code == 0
    plain = imagecodecs.png_decode((tmp_path / "a_overlay.png").read_bytes())
    done = run("segment", path, "--numbers", "--fill", "--save", "flows,probability", "--save", "masks,overlay")
    assert done.exit_code == 0, done.output
    shown = imagecodecs.png_decode((tmp_path / "a_overlay.png").read_bytes())
    assert shown.shape == plain.shape
    assert (shown != plain).any(axis=2).sum() > 1000, "discs of 9, 15 and 20 px are filled"
    assert tifffile.imread(tmp_path / "a_flows.tif").shape == (2, *image.shape)
    labels = tifffile.imread(tmp_path / "a_cp_masks.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a_probability.tif") > 0, labels > 0)
    assert imagecodecs.png_decode((tmp_path / "a_flows.png").read_bytes()).shape == (*image.shape, 3)
    assert imagecodecs.png_decode((tmp_path / "a_probability.png").read_bytes()).shape == image.shape
    for name in ("a_flows.tif", "a_flows.png", "a_probability.tif", "a_probability.png", "a_cp_masks.tif"):
        assert f"wrote     {tmp_path / name}" in done.stdout
    assert run("segment", tmp_path, "--save", "masks").stderr.startswith("left out 6 files")


class Slow(Service):
    """Answers requests for tall images at once, and the others after a minute."""

    def delay_of(self, request) -> float:
        return 0.0 if request.image.raw.pixels.shape[0] == 96 else 60.0


def test_interrupt(serve, tmp_path, image):
    """Ctrl-C ends at once, says what is done, and the server learns of it."""
    service = Slow()
    images(tmp_path, image, "a")
    paths = images(tmp_path, image[:60], "bcd")
    for path in ("b_overlay.png", "b_objects.csv", "b_cp_masks.tif"):
        (tmp_path / path).touch()  # of an earlier run
    # Shells start background jobs, and so perhaps these tests, with SIGINT ignored, which children inherit.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; from cellserve.cli import main; main()"
    command = [sys.executable, "-c", code, "segment", str(tmp_path), "-a", serve(service), "--concurrency", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        service.wait_received(3)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert output.startswith(f"{tmp_path / 'a.tif'}: 3 objects")
    assert errors.splitlines()[-2:] == [
        "stopped: 1 segmented, 0 skipped, 0 failed, 3 not done",
        "The results of the images that are done are complete. The same command with --skip-existing goes on. 1 of the "
        "images that are not done have results of an earlier run, which --skip-existing keeps; delete these results if "
        "they are to be made again.",
    ]
    assert service.cancelled.wait(5)
    assert not list(tmp_path.glob(".*"))
    assert len(paths) == 3


def test_completion():
    environment = {"_CELLSERVE_COMPLETE": "complete_bash", "COMP_WORDS": "cellserve segment --skip", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "cellserve"], env=os.environ | environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["--skip-existing"], done.stderr


@pytest.mark.parametrize("command", ["segment", "diameter", "models", "health"])
def test_help_is_plain_and_fits_the_terminal(run, monkeypatch, command):
    for columns in (80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        help = run(command, "--help").stdout
        assert max(map(len, help.splitlines())) <= columns
        assert "--address HOST:PORT" in help


def test_the_help_tells_exit_statuses(run):
    help = run("--help").stdout
    for part in ("0    All is well.", "2    Wrong usage", "130  Ctrl-C", "--install-completion"):
        assert part in help
