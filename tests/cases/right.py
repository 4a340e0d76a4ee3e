"""What is right: a description for the table, and a check of an outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .doors import Outcome


@dataclass(frozen=True)
class Right:
    """A right outcome.

    Attributes:
        text: For the table.
        holds: Tells whether an outcome is right.
    """

    text: str
    holds: Callable[[Outcome], bool]

    def __or__(self, other: Right) -> Right:
        return Right(f"{self.text}, or {other.text}", lambda outcome: self.holds(outcome) or other.holds(outcome))

    def __and__(self, other: Right) -> Right:
        return Right(f"{self.text}, {other.text}", lambda outcome: self.holds(outcome) and other.holds(outcome))


def found(count: int, *, warns: str = "") -> Right:
    """So many objects, without a warning but the one named."""
    text = f"{count} objects" + (f", warns {warns}" if warns else "")
    return Right(text, lambda o: o.objects == count and not o.crashed and set(o.warnings) == set(warns.split()))


_ANY = Right("a result", lambda o: o.objects is not None and not o.crashed)


def done() -> Right:
    """Any answer."""
    return _ANY


def warned(*kinds: str) -> Right:
    """An answer with one of the warnings, at least."""
    return Right(f"warns {' or '.join(kinds)}", lambda o: o.objects is not None and bool(set(kinds) & set(o.warnings)))


def refused(reason: str, *words: str) -> Right:
    """An error of a reason whose message has all the words."""
    text = f"refused, {reason}" + (f" that says {', '.join(map(repr, words))}" if words else "")
    return Right(
        text,
        lambda o: (
            not o.crashed and o.reason in reason.split("|") and all(word.lower() in o.message.lower() for word in words)
        ),
    )


def says(*words: str, never: tuple[str, ...] = ()) -> Right:
    """A text that was printed, with all of some words and none of others."""
    text = f"says {', '.join(map(repr, words))}" + (f", not {', '.join(map(repr, never))}" if never else "")
    return Right(
        text,
        lambda o: (
            not o.crashed
            and all(word.lower() in o.message.lower() for word in words)
            and not any(word.lower() in o.message.lower() for word in never)
        ),
    )


def near(diameter: float, share: float = 0.2) -> Right:
    """A diameter within a share of the true one."""
    return Right(
        f"about {diameter:g} px",
        lambda o: o.objects is not None and o.diameter is not None and abs(o.diameter / diameter - 1) <= share,
    )


def sized(micrometres: float) -> Right:
    """A label image and a table with this pixel size."""
    return Right(
        f"pixels of {micrometres:g} um",
        lambda o: all(size and abs(size / micrometres - 1) < 1e-3 for size in (o.pixel_size, o.table_size)),
    )


def within(seconds: float) -> Right:
    """An answer or an error after so much time at most."""
    return Right(f"within {seconds:g} s", lambda o: o.seconds <= seconds)


def status(code: int) -> Right:
    """An exit status of a command."""
    return Right(f"exit status {code}", lambda o: o.status == code)
