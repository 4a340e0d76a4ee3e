"""The Grafana dashboard without Grafana: its queries put to a Prometheus, its panels drawn."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure

from deploy.cluster.prometheus import INTERVAL_S, Prometheus
from devtools.stack import ROOT

DASHBOARD = ROOT / "deploy" / "helm" / "cellserve" / "files" / "dashboard.json"
NEEDS_GPU = "GPU utilisation"
VARIABLES = {"$namespace": "cellserve", "$release": "cellserve", "$__rate_interval": f"{15 * INTERVAL_S}s"}
COLUMNS = 4


@dataclass(frozen=True)
class Answer:
    """What one query of a panel came to.

    Attributes:
        series: Legend -> ([Unix seconds], [values]), for series with a value at all.
    """

    panel: str
    unit: str
    legend: str
    series: dict[str, tuple[list[float], list[float]]]

    @property
    def last(self) -> str:
        """The latest values, as text; series that ended before are left out."""
        end = max((times[-1] for times, _ in self.series.values()), default=0.0)
        values = [f"{name}: {values[-1]:.4g}" for name, (times, values) in self.series.items() if times[-1] == end]
        return ", ".join(values[:3]) + (f" and {len(values) - 3} more" if len(values) > 3 else "")


def ask(prometheus: Prometheus, start: float, end: float) -> list[Answer]:
    """Puts every query of the dashboard to a Prometheus, over a span of Unix time."""
    answers = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            series = {}
            for found in prometheus.history(expression, start, end):
                points = [(float(at), float(text)) for at, text in found["values"] if math.isfinite(float(text))]
                if points:
                    times, values = zip(*points, strict=True)
                    series[_legend(target["legendFormat"], found["metric"])] = (list(times), list(values))
            unit = panel["fieldConfig"]["defaults"]["unit"]
            answers.append(Answer(panel["title"], unit, target["legendFormat"], series))
    return answers


def draw(answers: list[Answer], path: Path) -> None:
    """Draws the panels with their data as one picture."""
    titles = list(dict.fromkeys(answer.panel for answer in answers))
    rows = -(-len(titles) // COLUMNS)
    figure = Figure(figsize=(5 * COLUMNS, 2.8 * rows), layout="constrained")
    axes: Any = figure.subplots(rows, COLUMNS)
    for place, title in zip(axes.flat, titles, strict=False):
        members = [answer for answer in answers if answer.panel == title]
        for answer in members:
            for name, (times, values) in answer.series.items():
                place.plot([at / 86400 for at in times], values, label=name, linewidth=1.2)
        place.set_title(f"{title} [{members[0].unit}]", fontsize=10)
        place.set_ylim(0, 1.35 * place.get_ylim()[1])  # the legend is above the lines
        place.xaxis.set_major_formatter(DateFormatter("%H:%M"))  # type: ignore[no-untyped-call]
        place.tick_params(labelsize=7)
        if any(answer.series for answer in members):
            place.legend(fontsize=6, loc="upper left", ncols=2)
        else:
            place.text(0.5, 0.5, "no data", transform=place.transAxes, ha="center", color="grey")
    for place in axes.flat[len(titles) :]:
        place.axis("off")
    figure.savefig(path, dpi=80)


def _legend(pattern: str, labels: dict[str, str]) -> str:
    text = re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], "")[:16], pattern)
    return text.strip() or "all"
