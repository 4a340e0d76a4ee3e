"""The command line: bad data is named with its file, and refused or left out, as the option says."""

import json
import shutil

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_networks.checkpoint import save_checkpoint
from cellserve_networks.network import CPnet
from cellserve_networks.size_model import read_size_model
from cellserve_training.cli import app
from typer.testing import CliRunner

FAULTS = {
    "without": "no labels",
    "shape": "labels of shape (10, 10), the image shape_img.png (128, 128)",
    "empty": "no object",
    "fractions": "float32 with fractions",
    "mask": "one number, 255, for 2 separate objects; give each object a number of its own",
}


@pytest.fixture
def bad(labelled, tmp_path):
    """The good images, and one of each fault."""
    folder = tmp_path / "set"
    shutil.copytree(labelled, folder)
    image = np.zeros((128, 128), np.uint8)
    for name in FAULTS:
        (folder / f"{name}_img.png").write_bytes(imagecodecs.png_encode(image))
    (folder / "shape_masks.png").write_bytes(imagecodecs.png_encode(np.ones((10, 10), np.uint8)))
    (folder / "empty_masks.png").write_bytes(imagecodecs.png_encode(image))
    tifffile.imwrite(folder / "fractions_masks.tif", np.full((128, 128), 0.5, np.float32))
    mask = np.zeros_like(image)
    mask[10:30, 10:30] = mask[50:70, 80:100] = 255
    (folder / "mask_masks.png").write_bytes(imagecodecs.png_encode(mask))
    return folder


def evaluate(folder, *options):
    arguments = [str(folder), "--address", "none", "--otsu", "--sheet", str(folder.parent / "sheet.png"), *options]
    return CliRunner().invoke(app, ["evaluate", *arguments], env={"COLUMNS": "160"})


def test_bad_data_is_refused_with_every_fault_named(bad, caplog):
    done = evaluate(bad)
    assert done.exit_code == 1
    assert "5 of 12 labelled images are bad; --on-bad-data skip leaves them out" in done.stderr
    said = [record.getMessage() for record in caplog.records]
    for name, problem in FAULTS.items():
        assert any(name in line and problem in line for line in said), (name, said)


def test_bad_data_is_left_out_on_request(bad):
    done = evaluate(bad, "--on-bad-data", "skip", "--json", str(bad.parent / "figures.json"))
    assert done.exit_code == 0, done.output
    assert "5 labelled images left out, 7 used" in done.stderr
    (only,) = json.loads((bad.parent / "figures.json").read_text())["passes"]
    assert len(only["images"]) == 7
    assert not FAULTS.keys() & {image["name"] for image in only["images"]}


def test_check_says_what_is_in_each_part(labelled, bad, tmp_path):
    shutil.copytree(labelled, tmp_path / "data" / "train")
    (tmp_path / "data" / "test").mkdir()
    for kind in ("img", "masks"):
        shutil.copy(labelled / f"nuclei_histology_{kind}.png", tmp_path / "data" / "test")
    done = CliRunner().invoke(app, ["check", str(tmp_path / "data")])
    assert done.exit_code == 0, done.output
    assert f"{tmp_path / 'data'}, train, labelled images: 7\n" in done.stdout
    _, _, test = done.stdout.partition(f"{tmp_path / 'data'}, test, labelled images: 1\n")
    assert test == "  nuclei_histology: 320 x 256 px, 3 plane(s), histology; 23 objects of 30 px\n"

    done = CliRunner().invoke(app, ["check", str(bad)])
    assert done.exit_code == 1
    assert f"{bad}, labelled images: 7\n" in done.stdout
    assert "5 labelled images cannot be used" in done.stderr


def test_nothing_but_bad_data_is_an_error_in_any_case(tmp_path):
    (tmp_path / "a_img.png").write_bytes(imagecodecs.png_encode(np.zeros((8, 8), np.uint8)))
    done = evaluate(tmp_path, "--on-bad-data", "skip")
    assert done.exit_code == 1
    assert "none of the labelled images can be used" in done.stderr


def test_no_such_folder(tmp_path):
    done = evaluate(tmp_path / "nowhere")
    assert done.exit_code == 1
    assert "no such folder" in done.stderr


def test_volumes_of_another_program_are_scored_and_drawn(tmp_path):
    stacks, found = tmp_path / "stacks", tmp_path / "found"
    stacks.mkdir(), found.mkdir()
    labels = np.zeros((6, 32, 40), np.uint16)
    labels[1:5, 4:16, 4:16], labels[2:5, 14:28, 22:36] = 1, 2
    tifffile.imwrite(stacks / "a_img.tif", np.uint8(labels > 0) * 200, metadata={"axes": "ZYX"})
    tifffile.imwrite(stacks / "a_masks.tif", labels)
    tifffile.imwrite(found / "a_masks.tif", labels * (labels == 2))
    arguments = [str(stacks), "--address", "none", "--predictions", str(found), "--sheet", str(tmp_path / "sheet.png")]
    done = CliRunner().invoke(app, ["evaluate", *arguments, "--json", str(tmp_path / "figures.json")])
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["thresholds"] == [0.25, 0.5, 0.75, 0.9]
    assert figures["passes"][0]["images"][0]["average_precision"] == [0.5] * 4
    assert figures["passes"][0]["images"][0]["boundary_f"] is None
    assert "boundary scores are measured on 2-D images alone" in done.stdout
    assert imagecodecs.imread(tmp_path / "sheet_stacks_a.png").shape[2] == 3
    assert not (tmp_path / "sheet.png").exists()


def test_a_network_is_scored_without_a_service(labelled, tmp_path):
    (tmp_path / "mine").mkdir()
    save_checkpoint(tmp_path / "mine" / "network.pt", CPnet().eval())
    for kind in ("img", "masks"):
        shutil.copy(labelled / f"nuclei_histology_{kind}.png", tmp_path / "mine")
    arguments = ["evaluate", str(tmp_path / "mine"), "--sheet", str(tmp_path / "sheet.png"), "--network"]
    figures = str(tmp_path / "figures.json")
    done = CliRunner().invoke(app, [*arguments, str(tmp_path / "mine" / "network.pt"), "--json", figures])
    assert done.exit_code == 0, done.output
    (only,) = json.loads((tmp_path / "figures.json").read_text())["passes"]
    assert only["name"] == "mine"
    assert [image["true_objects"] for image in only["images"]] == [23]

    done = CliRunner().invoke(app, [*arguments, str(tmp_path / "none.pt")])
    assert done.exit_code == 1
    assert "none.pt: cannot be read" in done.stderr


def test_a_size_model_takes_ten_images(labelled, tmp_path):
    network = tmp_path / "network.pt"
    save_checkpoint(network, CPnet().eval())
    arguments = ["--network", str(network), "--out", str(tmp_path / "size.json"), "--views", "1"]
    done = CliRunner().invoke(app, ["size-model", str(labelled), *arguments])
    assert done.exit_code == 1
    assert "7 images with objects; a size model takes 10 or more" in done.stderr

    many = tmp_path / "many"
    for copy in ("a", "b"):
        shutil.copytree(labelled, many / copy)
    done = CliRunner().invoke(app, ["size-model", str(many), *arguments])
    assert done.exit_code == 0, done.output
    assert "14 views of 14 images" in done.stdout
    assert read_size_model(tmp_path / "size.json").diam_mean == 30
