"""Draws the figures of 1 to 1,000 Tritons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FormatStrFormatter

STYLES = {"CPU": "-", "GPU": "--"}
COLOURS = {
    "per Triton, random ties": "C0",
    "per Triton, rotating ties": "C2",
    "one dispatcher": "C3",
    "scaled dispatcher": "C1",
}


def draw(figures: dict[str, Any], kiosk_images_per_h: float, out: Path) -> None:
    """Draws images per hour, efficiency and latency."""
    figure, (rate, efficiency, latency) = plt.subplots(1, 3, figsize=(15, 5.2), layout="constrained")
    for kind, style in STYLES.items():
        studied = figures[kind]
        _ideal(rate, studied, kind)
        for series in studied["sizes"]:
            policy = series["policy"]
            label = f"{kind}: {policy}"
            _curve(rate, series["rows"], "tritons", "images_per_h", f"{label}, {_ratio(series)}", style, policy)
            _curve(latency, series["rows"], "tritons", "p95_s", f"{label}, 95 %", style, policy)
            _curve(latency, series["rows"], "tritons", "p50_s", None, style, policy, alpha=0.35)
        for policy in COLOURS:
            rows = [row for row in studied["gateways"] if row["policy"] == policy]
            _curve(efficiency, rows, "tritons_per_gateway", "efficiency", f"{kind}: {policy}", style, policy)
    rate.axhline(kiosk_images_per_h, color="black", linewidth=0.8)
    rate.text(25, kiosk_images_per_h * 1.1, "DeepCell Kiosk, published", fontsize=8)
    rate.set(xscale="log", yscale="log", xlabel="Tritons", ylabel="images of 1 megapixel per hour")
    rate.set_title("callers always have images waiting")
    efficiency.set_xscale("log", base=2)
    efficiency.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    efficiency.set(xlabel="Tritons per gateway", ylabel="efficiency", ylim=(0, 1.05))
    efficiency.set_title("64 Tritons, more and fewer gateways")
    latency.set(xscale="log", yscale="log", xlabel="Tritons", ylabel="latency of an image, s")
    latency.set_title("random arrivals at 70 % of the rate; pale: median")
    for axis in (rate, efficiency, latency):
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize=7.5)
    figure.savefig(out, dpi=110)


def _ideal(axis: Any, studied: dict[str, Any], kind: str) -> None:
    pods = [row["tritons"] for row in studied["sizes"][0]["rows"]]
    label = "Tritons alone" if kind == "CPU" else None
    axis.plot(pods, [studied["images_per_h"] * number for number in pods], ":", color="black", label=label)


def _curve(
    axis: Any, rows: Sequence[dict[str, Any]], x: str, y: str, label: str | None, style: str, policy: str, **line: Any
) -> None:
    line |= {"marker": "o", "markersize": 3.5, "color": COLOURS[policy], "label": label}
    axis.plot([row[x] for row in rows], [row[y] for row in rows], style, **line)


def _ratio(series: dict[str, Any]) -> str:
    ratio = series["tritons_per_gateway"]
    if ratio == 1:
        return "1 gateway each"
    return f"1 gateway for {ratio:g}" if ratio > 1 else f"{1 / ratio:g} gateways each"
