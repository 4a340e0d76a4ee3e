"""The doors of the service, each as a caller uses it: the command line, gRPC, HTTP. What comes out is an `Outcome`."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cellserve
import httpx
import tifffile

TIMEOUT_S = 600


@dataclass(frozen=True)
class Outcome:
    """What a caller was told.

    Attributes:
        objects: Number of objects found; None without an answer.
        warnings: Kinds of the warnings of the answer.
        diameter: Diameter as used or estimated, pixels.
        pixel_size: Width of a pixel by the file of the label image, micrometres; None where unknown.
        table_size: The same by the table of objects.
        reason: Reason of an error.
        message: Text of an error, or whatever else was printed.
        crashed: Whether a program ended with a traceback.
        status: Exit status of a command.
        seconds: Time that the call took.
    """

    objects: int | None = None
    warnings: tuple[str, ...] = ()
    diameter: float | None = None
    pixel_size: float | None = None
    table_size: float | None = None
    reason: str = ""
    message: str = ""
    crashed: bool = False
    status: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.crashed:
            return f"TRACEBACK: {self.message}"
        if self.objects is None:
            return f"{self.reason}: {self.message}" if self.reason else self.message
        warned = f", warns {' '.join(self.warnings)}" if self.warnings else ""
        size = f", {self.pixel_size:.3g} um" if self.pixel_size else ""
        return f"{self.objects} object{'s'[: self.objects != 1]} at {self.diameter or 0:.3g} px{size}{warned}"


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        address: Of the gRPC door, "host:port".
        url: Of the HTTP door.
        client: Connected to the gRPC door.
        ensemble: Whether all networks of the family compute, or network 0 alone, which is quicker.
    """

    address: str
    url: str
    client: cellserve.Client
    ensemble: bool = True

    def call(self, image: Any, axes: str | None = None, **params: Any) -> Outcome:
        """Segments an array, or the bytes of a file as an `EncodedImage`, over gRPC."""
        start = time.monotonic()
        try:
            if isinstance(image, bytes):
                image = cellserve.EncodedImage(image)
            result = self.client.segment(image, axes=axes, ensemble=self.ensemble, **params)
        except cellserve.CellServeError as error:
            return Outcome(reason=error.reason, message=error.message, seconds=time.monotonic() - start)
        kinds = tuple(warning.kind for warning in result.warnings)
        return Outcome(len(result.objects), kinds, result.params.diameter, seconds=time.monotonic() - start)

    def post(self, data: bytes, **params: Any) -> Outcome:
        """Segments the bytes of a file over HTTP; the answer has all forms of the result."""
        start = time.monotonic()
        accept = {"accept": "application/zip"}
        query = params | {"ensemble": str(self.ensemble).lower()}
        answer = httpx.post(f"{self.url}/v1/segment", params=query, content=data, headers=accept, timeout=TIMEOUT_S)
        seconds = time.monotonic() - start
        if answer.is_error:
            problem = answer.json()
            message = problem.get("detail") or problem.get("title")
            return Outcome(reason=problem.get("reason", str(answer.status_code)), message=message, seconds=seconds)
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            result, labels = json.loads(archive.read("result.json")), archive.read("labels.tif")
            table = archive.read("objects.csv").decode()
        kinds = tuple(warning["kind"].lower() for warning in result["warnings"])
        sizes = pixel_size(labels), table_pixel_size(table)
        return Outcome(len(result["objects"]), kinds, result["params"]["diameter"], *sizes, seconds=seconds)

    def segment(self, *files: Path, environment: Mapping[str, str] | None = None, **params: Any) -> dict[Path, Outcome]:
        """Segments files by one command. A file without a result gets the end of what was printed."""
        start = time.monotonic()
        networks = "--ensemble" if self.ensemble else "--single"
        done = self.run("segment", "--json", networks, *options(params), *files, environment=environment)
        seconds = time.monotonic() - start
        records = {}
        for line in done.stdout.decode(errors="surrogateescape").splitlines():
            if line.startswith("{"):
                record = json.loads(line)
                records[os.fsencode(record["file"])] = _of_record(record)
        absent = Outcome(message=last_line(done.stderr) or "no result, no message", crashed=is_crash(done.stderr))
        found = {path: records.get(os.fsencode(path), absent) for path in files}
        return {path: replace(outcome, status=done.returncode, seconds=seconds) for path, outcome in found.items()}

    def evaluate(self, folder: Path) -> Outcome:
        """Compares the service with the labels of a folder, by `cellserve-train`. Objects are those of the labels."""
        figures, start = folder / "figures.json", time.monotonic()
        arguments = ["evaluate", folder, "--address", self.address, "--diameter", "true", "--json", figures]
        command = [sys.executable, "-c", "from cellserve_training.cli import app; app()", *arguments]
        command += ["--sheet", folder / "sheet.png"]
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
        objects = None
        if figures.exists():
            (only,) = json.loads(figures.read_text())["passes"]
            objects = sum(image["true_objects"] for image in only["images"])
        return Outcome(
            objects,
            message=" ".join(done.stderr.decode(errors="replace").split()),
            crashed=is_crash(done.stderr),
            status=done.returncode,
            seconds=time.monotonic() - start,
        )

    def export(self, *arguments: str | Path) -> Outcome:
        """Runs `cellserve-export family`, which needs no service."""
        command = [sys.executable, "-m", "cellserve_export", "family", *arguments]
        start = time.monotonic()
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
        message = " ".join(done.stderr.decode(errors="replace").split())
        seconds = time.monotonic() - start
        return Outcome(message=message, crashed=is_crash(done.stderr), status=done.returncode, seconds=seconds)

    def run(
        self, *arguments: str | Path, environment: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs `cellserve` with arguments, beside the service."""
        env = os.environ | {"CELLSERVE_ADDRESS": self.address, "COLUMNS": "200"} | dict(environment or {})
        command = [sys.executable, "-m", "cellserve", *map(os.fsencode, arguments)]
        return subprocess.run(command, env=env, capture_output=True, timeout=TIMEOUT_S, check=False, **options)


def options(params: Mapping[str, Any]) -> list[str]:
    """Returns parameters as the command line takes them."""
    return [part for name, value in params.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def is_crash(printed: bytes) -> bool:
    """Tells whether a program printed a traceback."""
    return b"Traceback (most recent call last)" in printed


def last_line(printed: bytes) -> str:
    """Returns the last line that a program printed."""
    lines = printed.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def pixel_size(labels: bytes | Path) -> float | None:
    """Returns the width of a pixel by the tags of a TIFF file, micrometres; None if it states no unit."""
    with tifffile.TiffFile(labels if isinstance(labels, Path) else io.BytesIO(labels)) as file:
        tags = file.pages[0].tags
        unit = {2: 25400.0, 3: 10000.0}.get(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else None
        unit = 1.0 if (file.imagej_metadata or {}).get("unit") in ("um", "micron", "\\u00B5m", "µm") else unit
        if unit is None:
            return None
        numerator, denominator = tags["XResolution"].value
        return unit * denominator / numerator


def table_pixel_size(table: str) -> float | None:
    """Returns the width of a pixel by the first row of a table of objects, micrometres; None if it states none."""
    first = next(csv.DictReader(table.splitlines()), {})
    return float(first.get("pixel_size_x_um") or 0) or None


def _of_record(record: Mapping[str, Any]) -> Outcome:
    """Returns a line of `--json`."""
    if "error" in record:
        return Outcome(reason=record["error"]["reason"], message=record["error"]["message"])
    kinds = tuple(warning["kind"].lower() for warning in record["warnings"])
    sizes = pixel_size(Path(record["files"]["masks"][0])), table_pixel_size(Path(record["files"]["csv"][0]).read_text())
    return Outcome(record["objects"], kinds, record["params"]["diameter"], *sizes)
