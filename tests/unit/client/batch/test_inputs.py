"""What a batch takes for images: odd names, links, pipes, empty folders, names that would meet."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from .conftest import counted, lines, names, square

SUMMARIES = {"images.csv", "report.html"}
ODD = (
    "a b.tif",
    'it\'s "quoted".tif',
    "two\nlines.tif",
    "naïve 細胞.tif",
    "percent%20.tif",
    "[0].tif",
    os.fsdecode(b"caf\xe9.tif"),
)


def table(out: Path) -> list[dict[str, str]]:
    with (out / "images.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def odd(tmp_path) -> Path:
    folder = tmp_path / "odd names"
    folder.mkdir()
    for number, name in enumerate(ODD):
        tifffile.imwrite(folder / name, square(x=4 + 8 * number))
    return folder


def test_any_name_is_a_name(run, odd, out):
    result = run("batch", odd, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert counted(result) == f"{len(ODD)} segmented, 0 skipped, 0 failed"
    assert sorted(row["image"] for row in table(out)) == sorted(ODD)
    assert {row["objects"] for row in table(out)} == {"1"}
    for number, name in enumerate(ODD):
        labels = tifffile.imread(out / f"{Path(name).stem}_cp_masks.tif")
        np.testing.assert_array_equal(labels, square(x=4 + 8 * number) > 100)
    again = run("batch", odd, "--out", out)
    assert counted(again) == f"0 segmented, {len(ODD)} skipped, 0 failed"
    assert f"{len(ODD)} done, 0 failed, 0 left; ended" in run("batch", "--status", out).stdout


def test_any_name_can_fail(run, odd, out):
    for name in ODD:
        (odd / name).write_bytes(b"II*\0")
    result = run("batch", odd, "--out", out, "--json")
    assert (result.exit_code, counted(result)) == (1, f"0 segmented, 0 skipped, {len(ODD)} failed")
    assert sorted(line["image"] for line in lines(result.stdout)) == sorted(ODD)
    assert sorted(row["image"] for row in table(out)) == sorted(ODD)
    assert (out / "report.html").read_text(encoding="utf-8").count("IMAGE_UNDECODABLE") >= 1


def test_any_name_can_be_planned_and_be_in_a_list(run, odd, out, tmp_path):
    planned = run("batch", odd, "--out", out, "--dry-run", "--json")
    assert sorted(line["image"] for line in lines(planned.stdout)) == sorted(ODD)
    listed = [name for name in ODD if "\n" not in name]
    (tmp_path / "list.txt").write_bytes(b"\n".join(b"odd names/" + os.fsencode(name) for name in listed))
    result = run("batch", tmp_path / "list.txt", "--out", out, "--save", "masks")
    assert counted(result) == f"{len(listed)} segmented, 0 skipped, 0 failed"


def test_links_to_folders_are_not_followed_and_links_to_files_are(run, plate, tmp_path, out):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    tifffile.imwrite(elsewhere / "other.tif", square())
    (plate / "folder").symlink_to(elsewhere, target_is_directory=True)
    (plate / "self").symlink_to(plate, target_is_directory=True)
    (plate / "file.tif").symlink_to(elsewhere / "other.tif")
    (plate / "nowhere.tif").symlink_to(tmp_path / "missing.tif")
    result = run("batch", plate, "--out", out, "--save", "masks")
    assert (result.exit_code, counted(result)) == (1, "4 segmented, 0 skipped, 1 failed")
    assert f"{plate / 'nowhere.tif'}: No such file or directory [FILE_UNREADABLE" in result.stderr
    assert {name for name in names(out) if name.endswith(".tif")} == {
        f"{stem}_cp_masks.tif" for stem in ("a/1", "b/1", "b/2", "file")
    }
    tifffile.imwrite(elsewhere / "other.tif", square(y=40, side=13))
    again = run("batch", plate, "--out", out, "--save", "masks")
    assert counted(again) == "1 segmented, 3 skipped, 1 failed"
    given = run("batch", plate / "folder", "--out", out / "given", "--save", "masks")
    assert counted(given) == "1 segmented, 0 skipped, 0 failed", "a link that is named itself is followed"


def test_a_folder_without_images_is_told(run, tmp_path, out):
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    (tmp_path / "empty" / "notes.md").write_text("no image")
    result = run("batch", tmp_path / "empty", "--out", out)
    assert result.exit_code == 2
    assert "has no file that ends in .tif" in " ".join(result.stderr.split())
    assert run("batch", tmp_path / "missing", "--out", out).exit_code != 0


def test_a_folder_with_the_name_of_an_image_is_a_folder(run, plate, out):
    (plate / "x.tif").mkdir()
    tifffile.imwrite(plate / "x.tif" / "inner.tif", square())
    result = run("batch", plate, "--out", out, "--save", "masks")
    assert (result.exit_code, counted(result)) == (0, "4 segmented, 0 skipped, 0 failed")
    assert "x.tif/inner_cp_masks.tif" in names(out)


def test_files_that_cannot_be_read_fail_alone(run, plate, out):
    os.mkfifo(plate / "pipe.tif")  # nobody writes: reading would wait for ever
    (plate / "locked.tif").write_bytes((plate / "a" / "1.tif").read_bytes())
    (plate / "locked.tif").chmod(0)
    readable = os.access(plate / "locked.tif", os.R_OK)  # by root
    result = run("batch", plate, "--out", out, "--save", "masks")
    assert (result.exit_code, counted(result)) == (1, f"{3 + readable} segmented, 0 skipped, {2 - readable} failed")
    states = {row["image"]: (row["state"], row["reason"]) for row in table(out)}
    assert states["pipe.tif"] == ("failed", "FILE_UNREADABLE")
    assert readable or states["locked.tif"] == ("failed", "FILE_UNREADABLE")


def test_results_of_a_time_point_do_not_replace_those_of_another_image(run, tmp_path, out):
    """The results of time point 0 of movie.tif have the names that those of movie_t0.tif would have."""
    folder = tmp_path / "images"
    folder.mkdir()
    series = np.stack([square(y=y) for y in (5, 15)])
    tifffile.imwrite(folder / "movie.tif", series, imagej=True, metadata={"axes": "TYX"})
    tifffile.imwrite(folder / "movie_t0.tif", square(y=40))
    result = run("batch", folder, "--out", out, "--save", "masks")
    assert (result.exit_code, counted(result)) == (1, "2 segmented, 0 skipped, 1 failed")
    assert f"{out / 'movie_t0_cp_masks.tif'} is the result of another image of the batch" in result.stderr
    (folder / "movie_t0.tif").rename(folder / "other.tif")
    again = run("batch", folder, "--out", out, "--save", "masks")
    assert (again.exit_code, counted(again)) == (0, "1 segmented, 2 skipped, 0 failed")
    for number, frame in enumerate(series):
        np.testing.assert_array_equal(tifffile.imread(out / f"movie_t{number}_cp_masks.tif"), frame > 100)


@pytest.mark.parametrize("other", ["x_y.tif", "x+y.tif"])
def test_label_images_whose_names_would_meet_are_refused(run, tmp_path, out, other):
    """Names of OME-Zarr labels have no blanks."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("x y.tif", other):
        tifffile.imwrite(folder / name, square())
    refused = run("batch", folder, "--out", out, "--save", "zarr")
    assert refused.exit_code == 1
    assert "x_y_cp_masks.ome.zarr is the result of another image of the batch" in refused.stderr
    result = run("batch", folder, "--out", out, "--save", "masks,csv")
    assert (result.exit_code, counted(result)) == (0, "2 segmented, 0 skipped, 0 failed")
    refused = run("batch", folder, "--out", out, "--save", "masks,zarr")
    assert refused.exit_code == 1
    alone = run("batch", folder, "--out", out, "--save", "masks,zarr", "--exclude", other)
    assert (alone.exit_code, counted(alone)) == (0, "0 segmented, 1 skipped, 0 failed")
    assert (out / "x_y_cp_masks.ome.zarr").is_dir()
