"""Result files of the command line: names, folders, whether they are complete."""

from __future__ import annotations

import os
from pathlib import Path

import cellserve
import pytest
import typer
from cellserve.cli.inputs import Input
from cellserve.cli.names import is_result
from cellserve.cli.outputs import Wanted, check_outputs, is_complete, plan_outputs
from cellserve.saving import SAVED


def plan(paths, folder=None, **wanted):
    return plan_outputs([Input(Path(path)) for path in paths], folder, Wanted(**wanted))


def test_names_of_results():
    planned = plan(["a/x.ome.tif", "b/y.png"])
    assert planned[Path("a/x.ome.tif")].files["masks"] == (Path("a/x.ome_cp_masks.tif"),)
    assert planned[Path("b/y.png")].files["overlay"] == (Path("b/y_overlay.png"),)
    (outputs,) = plan(["a/x.tif"], Path("out"), words=tuple(SAVED)).values()
    assert outputs.files["csv"] == (Path("out/x_objects.csv"),)
    assert len(outputs.paths) == 15
    assert list(outputs.files)[-1] == "masks", "written last"
    assert all(is_result(path) for path in outputs.paths)
    assert not is_result(Path("a/x.tif"))
    assert list(plan(["x.tif"], words=("masks", "csv"))[Path("x.tif")].files) == ["csv", "masks"]


def test_results_keep_the_folders_below_the_one_that_was_given():
    images = [Input(Path("plate/a/x.tif"), Path("a")), Input(Path("plate/b/x.tif"), Path("b"))]
    planned = plan_outputs(images, Path("out"), Wanted())
    masks = [str(outputs.files["masks"][0]) for outputs in planned.values()]
    assert masks == ["out/a/x_cp_masks.tif", "out/b/x_cp_masks.tif"]


def test_results_never_share_a_name():
    same = ["a/x.tif", "b/x.tif"]
    assert len(plan(same)) == 2
    with pytest.raises(typer.BadParameter, match=r"b/x\.tif.*would both write 'out/x_cp_masks\.tif'"):
        plan(same, Path("out"))
    with pytest.raises(typer.BadParameter, match="would both write"):
        plan(["a/x.tif", "a/x.png"])
    assert len(plan(["a/x y.tif", "a/x_y.tif"])) == 2
    with pytest.raises(typer.BadParameter, match=r"would both write 'a/x_y_cp_masks\.ome\.zarr'"):
        plan(["a/x y.tif", "a/x_y.tif"], words=("zarr",))
    assert list(plan(["a/x.tif", "a/../a/x.tif", "y.tif"])) == [
        Path("a/x.tif"),
        Path("y.tif"),
    ]


def test_two_names_of_one_file_have_two_results(tmp_path):
    (tmp_path / "folder").mkdir()
    real = tmp_path / "folder" / "real.tif"
    real.touch()
    links = [tmp_path / "link.tif", tmp_path / "folder" / "other.tif"]
    for link in links:
        link.symlink_to(real)
    assert [outputs.files["masks"][0].name for outputs in plan([real, *links]).values()] == [
        "real_cp_masks.tif",
        "link_cp_masks.tif",
        "other_cp_masks.tif",
    ]
    assert len(plan([real, *links], tmp_path / "out")) == 3
    (tmp_path / "way").symlink_to(tmp_path / "folder")
    assert list(plan([real, tmp_path / "way" / "real.tif"])) == [real], "the same entry of the same folder"


@pytest.mark.parametrize("letter", ["n", "\u00e9", "\u6f22", "\udce9"])
def test_names_of_results_fit_the_file_system(tmp_path, letter):
    size = len(os.fsencode(letter))
    for length in (229, 233, 234, 255):
        name = letter * ((length - 4) // size) + ".tif"
        others = [tmp_path / name, tmp_path / name.replace(letter, "x", 1)]
        planned = plan(others, words=tuple(SAVED))
        for path, outputs in planned.items():
            for result in outputs.paths:
                assert len(os.fsencode(result.name)) <= 255
                result.touch()
                assert is_result(result)
            if length <= 233:
                assert outputs.stem.name == path.stem
            check_outputs(outputs)
        assert len({outputs.files["masks"] for outputs in planned.values()}) == 2


def test_paths_that_are_too_long_are_noticed_before_the_work(tmp_path):
    deep = tmp_path
    while len(os.fsencode(deep)) < 4096:
        deep /= "d" * 200
    ((_, outputs),) = plan(["a.tif"], deep).items()
    with pytest.raises(cellserve.CellServeError, match=r"too long.*--out") as caught:
        check_outputs(outputs)
    assert caught.value.reason == "FILE_UNWRITABLE"


def test_results_are_complete_if_all_are_there_and_none_is_older_than_the_image(tmp_path):
    image = tmp_path / "a.tif"
    (outputs,) = plan([image]).values()
    results = outputs.paths
    assert not is_complete(image, results), "no image"
    for path in (image, *results):
        assert not is_complete(image, results)
        path.touch()
    assert is_complete(image, results)
    os.utime(outputs.files["csv"][0], (0, 0))
    assert not is_complete(image, results)
    os.utime(image, (0, 0))
    assert is_complete(image, results)
    (more,) = plan([image], words=("masks", "flows")).values()
    assert not is_complete(image, more.paths), "flows were not written"
