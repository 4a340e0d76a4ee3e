"""Every figure of the README, in one run: `make bench`. Prints a table and writes build/bench.json."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

import imagecodecs
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from agreement import agreement  # noqa: E402
from throughput import throughput  # noqa: E402

from deploy import stack  # noqa: E402

TARGETS = {"gateway_share_of_triton": 0.90, "triton_vs_cellpose": 5.0, "cellpose_eval_agreement": 0.95}


def main() -> int:
    """Runs everything; the exit status tells whether every target is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="labelled data sets: <set>/test/<name>_img.png, _masks.png"
    )
    parser.add_argument(
        "--weights", type=Path, required=True, help="folder of the ensemble's checkpoints, *_0.pt, *_1.pt, ..."
    )
    parser.add_argument("--peers", type=Path, default=ROOT / ".venv-peers" / "bin" / "python")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=24, help="images through the gateway per round")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench.json")
    options = parser.parse_args()
    weights = sorted(options.weights.glob("*_[0-9].pt"))
    if not weights:
        parser.error(f"{options.weights} holds no checkpoints *_0.pt")
    image = imagecodecs.imread(options.data / "dsb2018" / "test" / "1f6b7cead153_img.png")

    with tempfile.TemporaryDirectory(prefix="cellserve-") as folder, stack.running(Path(folder)) as at:
        figures = throughput(at, image, options.peers, weights, options.rounds, options.images)
        score, differences = agreement(
            at["gateway"], options.data, options.peers, weights[0], options.out.parent / "agreement"
        )
    figures["cellpose_eval_agreement"] = score
    figures["cellpose_eval_differences"] = len(differences)

    console = Console()
    table = Table(title=f"CellServe on {_machine()}")
    for column in ("figure", "value", "target"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for name, value in figures.items():
        target = TARGETS.get(name)
        mark = "" if target is None else f"{'[green]' if value >= target else '[red]'}>= {target:g}"
        table.add_row(name, f"{value:.3g}", mark)
    console.print(table)
    for difference in differences:
        y, x = difference.centroid
        console.print(
            f"{difference.image}: only {difference.side} has the object at ({y:.0f}, {x:.0f}), {difference.area} px, "
            f"best IoU {difference.best_iou:.2f}: {difference.cause}"
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"written to {options.out}")
    return int(any(figures[name] < target for name, target in TARGETS.items()))


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    return f"{', '.join(sorted(names)) or platform.processor()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    sys.exit(main())
