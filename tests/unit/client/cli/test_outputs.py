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


def plan(paths, folder=None, **wanted):
    return plan_outputs([Input(Path(path)) for path in paths], folder, Wanted(**wanted))


def test_names_of_results():
    planned = plan(["a/x.ome.tif", "b/y.png"])
    assert planned[Path("a/x.ome.tif")]["labels"] == Path("a/x.ome_cp_masks.tif")
    assert planned[Path("b/y.png")]["overlay"] == Path("b/y_overlay.png")
    (outputs,) = plan(["a/x.tif"], Path("out"), flows=True, cell_probability=True).values()
    assert outputs["table"] == Path("out/x_objects.csv")
    assert len(outputs) == 7
    assert list(outputs)[-1] == "labels", "written last"
    assert all(is_result(path) for path in outputs.values())
    assert not is_result(Path("a/x.tif"))
    assert list(plan(["x.tif"], overlay=False)[Path("x.tif")]) == ["table", "labels"]


def test_results_keep_the_folders_below_the_one_that_was_given():
    images = [Input(Path("plate/a/x.tif"), Path("a")), Input(Path("plate/b/x.tif"), Path("b"))]
    planned = plan_outputs(images, Path("out"), Wanted())
    assert [str(outputs["labels"]) for outputs in planned.values()] == ["out/a/x_cp_masks.tif", "out/b/x_cp_masks.tif"]


def test_results_never_share_a_name():
    same = ["a/x.tif", "b/x.tif"]
    assert len(plan(same)) == 2
    with pytest.raises(typer.BadParameter, match=r"b/x\.tif.*would both write 'out/x_cp_masks\.tif'"):
        plan(same, Path("out"))
    with pytest.raises(typer.BadParameter, match="would both write"):
        plan(["a/x.tif", "a/x.png"])
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
    assert [outputs["labels"].name for outputs in plan([real, *links]).values()] == [
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
        planned = plan(others, flows=True, cell_probability=True)
        for path, outputs in planned.items():
            for result in outputs.values():
                assert len(os.fsencode(result.name)) <= 255
                result.touch()
                assert is_result(result)
            if length <= 233:
                assert outputs["labels"].name.startswith(path.stem)
            check_outputs(outputs)
        assert len({outputs["labels"] for outputs in planned.values()}) == 2


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
    assert not is_complete(image, outputs), "no image"
    for path in (image, *outputs.values()):
        assert not is_complete(image, outputs)
        path.touch()
    assert is_complete(image, outputs)
    os.utime(outputs["table"], (0, 0))
    assert not is_complete(image, outputs)
    os.utime(image, (0, 0))
    assert is_complete(image, outputs)
    (more,) = plan([image], flows=True).values()
    assert not is_complete(image, more), "flows were not written"
