"""How intensities become the network's input: the one parameter that has parts."""

from __future__ import annotations

import math
import numbers
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .declarations import ParameterError, plain

Rule = Literal["percentiles", "cellpose3", "range", "off"]
Bound = float | tuple[float, ...]
_RULES: tuple[Rule, ...] = typing.get_args(Rule)


@dataclass(frozen=True, slots=True)
class Normalization:
    """How intensities become the network's input.

    Attributes:
        rule: "percentiles": two percentiles of each whole channel become 0 and 1; a border of fill does not count.
            "cellpose3": the same as Cellpose 3.1 does it: fill counts, and a channel whose percentiles differ by less
            than .001 becomes zeros. "range": given intensities become 0 and 1. "off": intensities go to the network
            as they are.
        low: Percentile or intensity that becomes 0. A percentile is 0 to 100; the default is 1. With "range" also two
            intensities, of the cytoplasm and of the nucleus. None with "off".
        high: Percentile or intensity that becomes 1, above `low`. A percentile is at most 100; the default is 99.
            Otherwise as `low`.
        invert: True for dark objects on a bright ground: x becomes 1 - x after the rule.

    Raises:
        ParameterError: A bound is missing, out of range, or given without need.
    """

    rule: Rule = "percentiles"
    low: Bound | None = None
    high: Bound | None = None
    invert: bool = False

    def __post_init__(self) -> None:
        if self.rule not in _RULES:
            raise ParameterError("normalization.rule", self.rule, " or ".join(_RULES))
        if self.rule == "off":
            if self.low is not None or self.high is not None:
                raise ParameterError("normalization.off", f"{self.low}, {self.high}", "no bounds")
            return
        defaults = (None, None) if self.rule == "range" else (1.0, 99.0)
        for name, default in zip(("low", "high"), defaults, strict=True):
            value = getattr(self, name)
            bound = _bound(f"normalization.{self.rule}.{name}", default if value is None else value)
            object.__setattr__(self, name, bound)
        for low, high in self.ranges:
            self._check(low, high)

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """The bounds (low, high): one pair for all planes, or one pair for each plane; none with "off"."""
        if self.low is None or self.high is None:
            return ()
        lows, highs = (value if isinstance(value, tuple) else (value,) for value in (self.low, self.high))
        if len(lows) != len(highs) or len(lows) > (2 if self.rule == "range" else 1):
            allowed = "one intensity or two, as many as in low" if self.rule == "range" else "one percentile"
            raise ParameterError(f"normalization.{self.rule}.high", highs, allowed)
        return tuple(zip(lows, highs, strict=True))

    def bounds(self, plane: int) -> tuple[float, float]:
        """Returns the intensities that become 0 and 1 in a plane, 0 cytoplasm or 1 nucleus. (0, 1) with "off"."""
        ranges = self.ranges or ((0.0, 1.0),)
        return ranges[plane] if len(ranges) > 1 else ranges[0]

    @classmethod
    def parse(cls, text: str, invert: bool = False) -> Normalization:
        """Reads "percentiles:LOW,HIGH", "cellpose3:LOW,HIGH", "range:LOW,HIGH", "range:LOW,HIGH,LOW,HIGH" or "off".

        Raises:
            ParameterError: The text is none of these, or a bound is out of range.
        """
        rule, _, rest = text.partition(":")
        kinds = {kind: kind for kind in _RULES}
        counts = {"percentiles": (2,), "cellpose3": (0, 2), "range": (2, 4), "off": (0,)}
        try:
            bounds = [float(part) for part in rest.split(",")] if rest else []
        except ValueError:
            bounds = [math.nan]
        if rule not in kinds or len(bounds) not in counts[rule]:
            raise ParameterError("normalization", repr(text), "percentiles:LOW,HIGH, cellpose3, range:LOW,HIGH, off")
        return cls(kinds[rule], tuple(bounds[::2]) or None, tuple(bounds[1::2]) or None, invert)

    def __str__(self) -> str:
        bounds = ",".join(plain(bound) for pair in self.ranges for bound in pair)
        return f"{self.rule}:{bounds}" if bounds else self.rule

    def _check(self, low: float, high: float) -> None:
        name = f"normalization.{self.rule}"
        if self.rule != "range":
            if not 0 <= low <= 100:
                raise ParameterError(f"{name}.low", low, "0 to 100")
            if not low < high <= 100:
                raise ParameterError(f"{name}.high", high, f"above {plain(low)}, at most 100")
        else:
            if not math.isfinite(low):
                raise ParameterError(f"{name}.low", low, "a finite number")
            if not (math.isfinite(high) and low < high):
                raise ParameterError(f"{name}.high", high, f"a finite number above {plain(low)}")


def _bound(name: str, value: float | Sequence[float] | None) -> Bound:
    """Returns a bound as a number, or as a tuple of numbers if there are several."""
    if value is None:
        raise ParameterError(name, "not set", "the intensity that becomes 0 or 1")
    if isinstance(value, numbers.Real):
        return float(value)
    values = tuple(float(number) for number in typing.cast(Sequence[float], value))
    return values[0] if len(values) == 1 else values
