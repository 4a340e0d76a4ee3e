"""The sums of a run for its report, one image after the other."""

from __future__ import annotations

import heapq
import json
import math
from collections import Counter
from dataclasses import dataclass, field

from .journal import Entry
from .report import MOST_FILES, MOST_ROWS, FailureGroup, Histogram, ImageRow, ModelUsed

_MODEL = ("family", "name", "version", "sha256", "precision", "runtime")


@dataclass(slots=True)
class Summary:
    """Sums over images that are done or have failed. Takes the same memory however many they are.

    Attributes:
        done: Number of images that are done.
        pixels: Pixels of these.
        counts: Images by number of objects, bins of `Histogram`.
        sizes: Objects by diameter in pixels, bins of `Histogram`.
        sizes_um: The same in micrometres.
        warnings: Images by kind of warning.
        servers: Versions of the servers.
        reasons: Images that failed, by reason.
    """

    done: int = 0
    pixels: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    sizes: Counter[int] = field(default_factory=Counter)
    sizes_um: Counter[int] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    servers: set[str] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    _models: set[str] = field(default_factory=set)
    _worst: list[tuple[float, int, ImageRow]] = field(default_factory=list)
    _failed: dict[str, list[Entry]] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Adds an image. Images come in the order of their names."""
        if entry.state == "failed":
            reason = entry.record["reason"]
            self.reasons[reason] += 1
            first = self._failed.setdefault(reason, [])
            if len(first) < MOST_FILES:
                first.append(entry)
            return
        record = entry.record
        self.done += 1
        self.pixels += record["pixels"]
        self.counts.update(dict(Histogram.of_counts([record["objects"]]).bins))
        self.sizes.update(dict(Histogram.from_json(record["diameters"]).bins))
        if record["diameters_um"] is not None:
            self.sizes_um.update(dict(Histogram.from_json(record["diameters_um"]).bins))
        self.warnings.update(record["warnings"])
        self.servers.add(record["server_version"])
        self._models.add(json.dumps([record["model"][name] for name in _MODEL]))
        error = record["mean_flow_error"]
        row = (-1.0 if error is None else error, -self.done, _row(entry))
        if len(self._worst) < MOST_ROWS:
            heapq.heappush(self._worst, row)
        else:
            heapq.heappushpop(self._worst, row)

    def models(self) -> tuple[ModelUsed, ...]:
        """Returns the networks that answered."""
        return tuple(ModelUsed(**dict(zip(_MODEL, json.loads(text), strict=True))) for text in sorted(self._models))

    def worst_rows(self) -> tuple[ImageRow, ...]:
        """Returns the images with the largest mean flow errors, the largest first."""
        return tuple(row for _, _, row in sorted(self._worst, key=lambda entry: entry[:2], reverse=True))

    def failures(self) -> tuple[FailureGroup, ...]:
        """Returns the images that failed, by reason."""
        return tuple(
            FailureGroup(
                reason=reason,
                count=self.reasons[reason],
                message=entries[0].record["message"],
                names=tuple(entry.name for entry in entries),
            )
            for reason, entries in sorted(self._failed.items())
        )


def _row(entry: Entry) -> ImageRow:
    record = entry.record
    diameter, size = record["median_diameter"], record["pixel_size_um"]
    lengths = [length for length in (size or {}).values() if length is not None]
    scale = math.prod(lengths) ** (1 / len(lengths)) if lengths else None
    return ImageRow(
        name=entry.name,
        objects=record["objects"],
        median_diameter=diameter,
        median_diameter_um=None if diameter is None or scale is None else diameter * scale,
        mean_flow_error=record["mean_flow_error"],
        worst_flow_error=record["worst_flow_error"],
        seconds=record["server_s"],
        warnings=tuple(record["warnings"]),
    )
