"""The command line of a batch's pods: it takes what the chart and the examples say, and the chart says what is true."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from cellserve.batch.batch import MOST_BYTES
from cellserve.cli import app
from cellserve.cli.batch import MOST

from .conftest import CHART
from .test_batch import SOURCES, batch, commands, example, job_of


def test_what_the_chart_says_of_the_command_is_true():
    values = (CHART / "values.yaml").read_text()
    assert f"--concurrency images in memory at a time ({MOST})" in values
    assert MOST_BYTES == 1 << 30
    assert "these images take 1 GiB at most" in values


def parsed(command: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options before the command, and those of the command, as the command line reads them; runs nothing."""
    at = command.index("batch")
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    access = group.make_context(command[0], command[1 : at + 1])
    return access.params, group.commands["batch"].make_context("batch", command[at + 1 :], parent=access).params


@pytest.mark.parametrize("source", SOURCES)
def test_the_command_line_takes_what_the_job_says(render, source):
    job = job_of(render, source)
    every = commands(job)
    for index in (0, len(every) - 1):
        access, options = parsed(every[index])
        assert options["shard"] == f"{index}/{len(every)}"
        assert str(options["out"]).startswith("/output/")
        assert all(str(path).startswith("/input") for path in options["inputs"])
        assert options["deadline_s"] == 3600
        assert bool(access["ca"]) == bool(access["certificate"]) == bool(access["key"]) == (source == "everything")
    if source == "everything":
        assert [str(path) for path in options["inputs"]] == [
            "/input/plate-1",
            "/input/plate-2/*.tif",
            "/input/wells/to-do.txt",
        ]
        assert options["save"] == ["geojson", "csv"]
        assert (options["diameter"], options["measure"], options["ensemble"]) == (17.5, ["shape"], False)


@pytest.mark.parametrize(
    ("word", "message"), [("--recursive", "No such option: --recursive"), ("--measure=texture", "texture")]
)
def test_the_command_line_refuses_what_it_does_not_know(render, word, message):
    with pytest.raises(Exception, match=message):
        parsed(commands(render(values=batch(extraArgs=[word])).one("Job"))[0])


def test_the_command_line_takes_what_the_status_says():
    (container,) = example("batch-status.yaml")["spec"]["containers"]
    _, status = parsed(container["command"])
    assert status["status"] == parsed(commands(example("batch-job.yaml"))[0])[1]["out"]
