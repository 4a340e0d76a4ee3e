"""`cellserve diameter`."""

from __future__ import annotations

from typing import Any

import typer

from cellserve.channel import DEFAULT_ADDRESS
from cellserve.errors import CellServeError, one_image
from cellserve.files import read_image

from . import report, terminal
from .connection import connect, say_cause
from .options import Address, Axes, DeadlineS, Files, Series, parameter_options, params_of


@parameter_options(estimate=True)
def diameter(
    context: typer.Context,
    files: Files,
    address: Address = [DEFAULT_ADDRESS],  # noqa: B006  # typer reads it, nothing changes it
    axes: Axes = None,
    series: Series = None,
    deadline_s: DeadlineS = 300.0,
    **values: Any,
) -> None:
    """Estimates the median diameter of the objects in each image, and tells where the number comes from."""
    params = params_of(values)
    output, errors = terminal.console(), terminal.console(stderr=True)
    failed = False
    with connect(context, address, deadline_s, errors) as client:
        client.health()
        for path in files:
            try:
                with one_image():
                    estimate = client.estimate_diameter(read_image(path, axes, series), params)
            except CellServeError as error:
                failed = True
                terminal.say(errors, report.error_line(path, error))
                say_cause(context, errors, error)
            else:
                line = f"{path}: {estimate.diameter:.1f} px ({report.diameter_source(estimate.source)})"
                terminal.say(output, "\n".join([line, *report.warning_lines(estimate.warnings)]))
    if failed:
        raise typer.Exit(1)
