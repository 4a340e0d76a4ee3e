"""`cellserve-train`: labelled images in, networks and the figures they reach out."""

from __future__ import annotations

import logging

from cellserve_contract.help import GroupedCommand, program

from .check import check
from .evaluate import evaluate
from .size_model import size_model
from .synthesize import synthesize
from .train import train

HELP = "Train the networks of CellServe, and measure them."
EPILOG = """\b
Start here:
  cellserve-train check my_images                      what is in a folder of labelled images?
  cellserve-train train my_images --out training       train a network; the same command goes on after a stop
  cellserve-train evaluate my_images                   score the running service
"""

app = program(HELP, EPILOG)
for command in (check, train, size_model, evaluate, synthesize):
    app.command(cls=GroupedCommand)(command)


@app.callback(help=HELP, epilog=EPILOG)
def main() -> None:
    """Logs in plain lines."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
