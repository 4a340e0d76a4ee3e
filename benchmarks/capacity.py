"""Plans capacity: measures this machine, simulates 1 to 1,000 Tritons, and computes the cost of images.

Prints tables, draws docs/guides/capacity.png, and writes build/capacity.json. The simulation is first validated on this
machine, where one gateway and one Triton share the cores. Times of a GPU are read from a file. Prices are inputs.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from simulation import sweep  # noqa: E402
from simulation.measure import Measured, measure  # noqa: E402
from simulation.plot import draw  # noqa: E402

KIOSK_IMAGES_PER_H = 1e6 / 5.5
KIOSK_DOLLARS_PER_1000 = 250 / 1000
"""DeepCell Kiosk, Nature Methods 2021: 10^6 images of one megapixel in 5.5 h for 250 dollars."""
H100 = ROOT / "benchmarks" / "gpu" / "h100.json"
"""Measured by benchmarks/gpu."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, help="file of an earlier measurement, used instead of a new one")
    parser.add_argument("--rounds", type=int, default=5, help="samples of each batch size")
    parser.add_argument(
        "--patience-s", type=float, default=600, help="maximum time to wait for a quiet machine, for each part"
    )
    parser.add_argument("--gpu", type=Path, default=H100, help="file that benchmarks/gpu/measure.py wrote")
    parser.add_argument(
        "--triton-price", type=float, default=0.10, help="dollars per hour of a Triton pod on processors"
    )
    parser.add_argument("--gpu-price", type=float, default=1.00, help="dollars per hour of a Triton pod with a GPU")
    parser.add_argument("--gateway-price", type=float, default=0.10, help="dollars per hour of a gateway pod")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "capacity.json")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "guides" / "capacity.png")
    options = parser.parse_args()
    if options.measured:
        measured = Measured.read(options.measured)
    else:
        measured = measure(options.rounds, options.patience_s)
        measured.write(options.out.with_name("capacity_measured.json"))
    figures: dict[str, Any] = {"processor": measured.processor, "cores": measured.cores}
    figures["validation"] = sweep.validate(measured)
    _show(f"validation on {measured.processor}, {measured.cores} cores", figures["validation"])
    prices = {"CPU": options.triton_price, "GPU": options.gpu_price}
    gpu = json.loads(options.gpu.read_text())["fp16"]
    for kind in sweep.kinds(measured, gpu):
        figures[kind.name] = _studied(kind, prices[kind.name], options.gateway_price)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=1) + "\n")
    draw(figures, KIOSK_IMAGES_PER_H, options.plot)
    print(f"written to {options.out} and {options.plot}")


def _studied(kind: sweep.Kind, triton_price: float, gateway_price: float) -> dict[str, Any]:
    """Runs all simulations of one kind of Triton pod."""
    per_hour = kind.rate / sweep.IMAGE.tiles * 3600
    print(f"\n{kind.name}: {kind.rate:.2f} tiles/s, {per_hour:,.0f} images of one megapixel per hour and Triton")
    gateways, most = sweep.tritons_per_gateway(kind)
    _show(f"{kind.name}: {sweep.SHARED} Tritons, different numbers of gateways", gateways)
    studied = {
        policy: ratio for policy, ratio in most.items() if kind.name == "CPU" or policy == "per Triton, random ties"
    }
    sizes = []
    for policy, ratio in studied.items():
        rows = []
        for tritons in sweep.PODS:
            count = math.ceil(tritons / ratio)
            row = sweep.full(kind, tritons, count, policy)
            wait = sweep.waiting(kind, tritons, count, policy)
            lost = row["lost"] + wait["lost"]
            rows.append(row | _cost(row, tritons * triton_price, count * gateway_price) | wait | {"lost": lost})
        _show(f"{kind.name}: {policy}, {ratio:g} Tritons per gateway", rows)
        sizes.append({"policy": policy, "tritons_per_gateway": ratio, "rows": rows})
    failures = [
        sweep.failure(kind, math.ceil(sweep.FAILURE_TRITONS / ratio), policy, silent)
        for policy, ratio in studied.items()
        for silent in (False, True)
    ]
    _show(f"{kind.name}: {sweep.FAILURE_SHARE:.0%} of {sweep.FAILURE_TRITONS} Tritons stop", failures)
    return {"images_per_h": per_hour, "gateways": gateways, "sizes": sizes, "failures": failures}


def _cost(row: dict[str, Any], tritons: float, gateways: float) -> dict[str, float]:
    """Returns the cost of 1,000 images, and the price of a Triton at which this cost equals the Kiosk's.

    Args:
        row: A run of `sweep.full`.
        tritons: Dollars per hour of all Tritons.
        gateways: Dollars per hour of all gateways.
    """
    thousands = row["images_per_h"] / 1000
    return {
        "dollars_per_1000": (tritons + gateways) / thousands,
        "kiosk_price": (KIOSK_DOLLARS_PER_1000 * thousands - gateways) / row["tritons"],
    }


def _show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(f"{value:,.3g}" if isinstance(value, float) else f"{value}" for value in row.values()))
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
