"""Files, folders and patterns on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import tifffile
import typer
from cellserve.cli.inputs import Input, find_images


@pytest.fixture
def plate(tmp_path):
    """A folder of images and other files, with folders in it."""
    names = ("b.TIF", "a.ome.tiff", "c.jpeg", "d.png", "notes.txt", "._a.tif", "a_objects.csv", "a_cp_masks.tif")
    for name in (*names, "well/e.tif", "well/deep/f.jpg", ".hidden/g.tif"):
        path = tmp_path / "plate" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "plate"


def names(found):
    return [str(image.below / image.path.name) for image in found.images]


def test_a_folder_stands_for_its_images(plate):
    found = find_images([plate])
    assert names(found) == ["a.ome.tiff", "b.TIF", "c.jpeg", "d.png"]
    assert found.results == 1, "a_cp_masks.tif; tables are no images"


def test_folders_in_a_folder_on_request(plate):
    found = find_images([plate], recursive=True)
    assert names(found) == ["a.ome.tiff", "b.TIF", "c.jpeg", "d.png", "well/e.tif", "well/deep/f.jpg"]
    (plate / "well" / "loop").symlink_to(plate)
    assert names(find_images([plate], recursive=True)) == names(found)


def test_patterns_that_the_shell_left(plate):
    assert names(find_images([plate / "*.t*f*"])) == ["a.ome.tiff"], "the name of a file, not its kind"
    assert names(find_images([plate / "[cd].*"])) == ["c.jpeg", "d.png"]
    assert names(find_images([plate / "**" / "*.tif"])) == ["e.tif"]
    assert names(find_images([plate / "notes*"])) == ["notes.txt"], "as if the shell had found it"


def test_a_path_that_exists_is_no_pattern(tmp_path):
    folder = tmp_path / "[a]"
    folder.mkdir()
    (folder / "x*.tif").touch()
    (folder / "xy.tif").touch()
    assert names(find_images([folder / "x*.tif"])) == ["x*.tif"]
    assert names(find_images([folder])) == ["x*.tif", "xy.tif"]
    assert find_images([folder / "missing.tif"]).images == (Input(folder / "missing.tif"),), "reading says so"


def test_files_are_taken_whatever_their_names(tmp_path):
    given = [tmp_path / "image", tmp_path / "missing.dat", tmp_path / ("n" * 300)]
    assert [image.path for image in find_images(given).images] == given


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("empty", r"the folder '.*empty' has no file that ends in \.tif, .* or \.bif; --recursive"),
        ("empty/*.tif", r"no file matches '.*empty/\*\.tif'"),
        ("results", "no image among 2 files"),
    ],
)
def test_nothing_to_do_is_wrong_usage(tmp_path, path, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "results").mkdir()
    for name in ("a_cp_masks.tif", "a_overlay.png"):
        (tmp_path / "results" / name).touch()
    with pytest.raises(typer.BadParameter, match=said):
        find_images([tmp_path / path])


@pytest.mark.parametrize("command", ["segment", "diameter"])
def test_commands_take_folders_and_patterns(run, service, image, tmp_path, command):
    for name in ("plate/a.tif", "plate/well/a.tif", "plate/well/b.tif"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        tifffile.imwrite(path, image)
    out = ["--out", tmp_path / "out"] if command == "segment" else []
    done = run(command, tmp_path / "plate", "--recursive", *out)
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) == 3
    if out:
        assert sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*_cp_masks.tif")) == [
            Path("a_cp_masks.tif"), Path("well/a_cp_masks.tif"), Path("well/b_cp_masks.tif"),
        ]  # fmt: skip
    assert len(run(command, tmp_path / "plate" / "*" / "[ab].tif").stdout.splitlines()) == 2
    service.requests.clear()
    nothing = run(command, tmp_path / "plate" / "*.png")
    assert nothing.exit_code == 2
    assert "no file matches" in nothing.stderr
    assert not service.requests
