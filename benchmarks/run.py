"""Every figure of docs/performance.md, in one run: `make bench`. Prints a table and writes build/bench.json.

`make bench ONLY=recovery` runs one part and keeps the other figures of build/bench.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import imagecodecs
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from agreement import Difference, agreement  # noqa: E402
from batch_share import batch_share  # noqa: E402
from preset import preset  # noqa: E402
from recovery import recovery  # noqa: E402
from recovery3d import recovery3d  # noqa: E402
from throughput import throughput  # noqa: E402

from devtools import stack  # noqa: E402
from large import large_share  # noqa: E402

PARTS = ("parity", "throughput", "agreement", "preset", "recovery", "recovery3d", "large", "batch")
WITHOUT_GATEWAY = {"parity", "preset", "recovery3d", "large"}
WITHOUT_NETWORKS = {"recovery3d", "large", "batch"}
TARGETS = {
    "gateway_share_of_triton": 0.90,
    "triton_vs_cellpose": 5.0,
    "cellpose_eval_agreement": 0.95,
    "preset_images": 0.95,
    "preset_volumes": 0.95,
    "recovery_1024_vs_cellpose": 15.0,
    "recovery_1024_label_flows_vs_cellpose": 15.0,
    "recovery_2048_vs_cellpose": 15.0,
    "recovery_2048_label_flows_vs_cellpose": 15.0,
    "recovery_1024_one_thread": 8.0,
    "recovery_1024_label_flows_one_thread": 8.0,
    "recovery_agreement": 0.98,
    "recovery_same_number": 0.90,
    "large_share_of_gateway": 0.90,
    "batch_share_of_gateway": 0.95,
    "recovery3d_vs_cellpose": 20.0,
    "recovery3d_agreement": 0.99,
    "recovery3d_paper_rules_agreement": 0.97,
}
LIMITS = {"recovery_8192_peak_gib": 4.0}


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
    parser.add_argument("--fields", type=int, default=40, help="test images whose masks are compared with Cellpose's")
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part; repeatable; default: all parts")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench.json")
    options = parser.parse_args()
    parts = set(options.only or PARTS)
    weights = sorted(options.weights.glob("*_[0-9].pt"))
    if not weights and parts - WITHOUT_NETWORKS:
        parser.error(f"{options.weights} holds no checkpoints *_0.pt")

    figures: dict[str, float] = {}
    differences: list[Difference] = []
    if options.only and options.out.exists():
        figures = json.loads(options.out.read_text())
    pictures = options.out.parent / "agreement"
    if "parity" in parts:
        _check_parity(options.peers, weights[0])
    with contextlib.ExitStack() as running:
        if parts - WITHOUT_GATEWAY:
            folder = running.enter_context(tempfile.TemporaryDirectory(prefix="cellserve-"))
            at = running.enter_context(stack.running(Path(folder)))
        if "throughput" in parts:
            image = imagecodecs.imread(options.data / "dsb2018" / "test" / "1f6b7cead153_img.png")
            figures |= throughput(at, image, options.peers, weights, options.rounds, options.images)
        if "batch" in parts:
            figures |= batch_share(at["grpc"], options.data, options.rounds, 2 * options.images)
        if "agreement" in parts:
            score, by_default, differences = agreement(at["grpc"], options.data, options.peers, weights[0], pictures)
            figures["cellpose_eval_agreement"] = score
            figures["cellpose_eval_agreement_own_niter"] = by_default
            figures["cellpose_eval_differences"] = len(differences)
        if "recovery" in parts:
            measured, others = recovery(at["grpc"], options.data, options.peers, pictures, options.fields)
            figures |= measured
            differences += others
        if "preset" in parts:
            figures |= preset(options.data, options.peers, weights[0], options.out.parent / "preset")
        if "recovery3d" in parts:
            figures |= recovery3d(options.peers)
    if "large" in parts:
        figures |= large_share(options.data, options.rounds)

    console = Console()
    table = Table(title=f"CellServe on {_machine()}")
    for column in ("figure", "value", "target"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for name, value in figures.items():
        mark = ""
        if name in TARGETS:
            mark = f"{'[green]' if value >= TARGETS[name] else '[red]'}>= {TARGETS[name]:g}"
        if name in LIMITS:
            mark = f"{'[green]' if value <= LIMITS[name] else '[red]'}<= {LIMITS[name]:g}"
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
    missed = [name for name, target in TARGETS.items() if name in figures and figures[name] < target]
    missed += [name for name, limit in LIMITS.items() if name in figures and figures[name] > limit]
    return int(bool(missed))


def _check_parity(python: Path, checkpoint: Path) -> None:
    """Ends the run unless our network computes what Cellpose's does; `python` is that of the peers' environment."""
    ours = os.pathsep.join(str(ROOT / folder) for folder in ("export", "networks", "formats"))
    command = [python, ROOT / "benchmarks" / "peers" / "network_parity.py", checkpoint]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": ours}, check=True)


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    return f"{', '.join(sorted(names)) or platform.processor()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    sys.exit(main())
