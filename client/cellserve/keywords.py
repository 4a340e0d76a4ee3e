"""Keywords that do not exist, and values of wrong types: errors that name the nearest keyword and the right type."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from cellserve_contract.cellpose_names import CELLPOSE_NAMES
from cellserve_contract.declarations import typed

from .errors import refusal
from .params import SegmentParams

_TYPES: dict[str, type] = {
    "axes": str,
    "series": int,
    "compression": str,
    "priority": str,
    "work_budget_s": float,
    "deadline_s": float,
    "outputs": Collection,
    "omit_labels": bool,
    "maps_only": bool,
    "map_type": str,
    "request_id": str,
    "concurrency": int,
}
_BOUNDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "work_budget_s": ("seconds, above 0", lambda seconds: seconds > 0),
    "deadline_s": ("seconds, above 0", lambda seconds: seconds > 0),
    "series": ("0 or more", lambda number: number >= 0),
    "concurrency": ("1 or more", lambda number: number >= 1),
}
_OF_OTHER_CALLS = {
    "request_id": "segment and estimate_diameter take a request_id",
    "concurrency": "segment_many and segment_stream take a concurrency",
    "newest_only": "segment_stream takes newest_only",
    "outputs": "segment, segment_many and segment_stream take outputs",
}
_OF_CLIENT = {
    "host": "the first argument is the address: Client('host:50051')",
    "port": "the port is part of the address: Client('host:50051')",
    "url": "the first argument is the address: Client('host:50051')",
    "timeout": "use deadline_s, in seconds",
    "token": "use metadata=[('authorization', 'Bearer ...')]",
    "tls": "use credentials=grpc.ssl_channel_credentials()",
    "ssl": "use credentials=grpc.ssl_channel_credentials()",
    "secure": "use credentials=grpc.ssl_channel_credentials()",
}


def check_options(given: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuses keywords that a call does not take.

    Raises:
        TypeError: A keyword is unknown. The message says what to write instead.
    """
    hints = {name: str(translation) for name, translation in CELLPOSE_NAMES.items()} | _OF_OTHER_CALLS
    _check(given, known, hints)


def check_client(unknown: Mapping[str, Any]) -> None:
    """Refuses keywords that `Client` does not take.

    Raises:
        TypeError: There are any.
    """
    _check(unknown, ("address", "deadline_s", "credentials", "metadata"), _OF_CLIENT)


def check_params(params: Any) -> None:
    """Refuses anything but a `SegmentParams` in its place.

    Raises:
        TypeError: `params` is something else.
    """
    if params is not None and not isinstance(params, SegmentParams):
        raise TypeError(
            f"params is {params!r}; expected a SegmentParams. Parameters may be keywords: segment(image, diameter=30)"
        )


def in_types(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of a call that are no parameters, NumPy's numbers in Python's; those that are None left out.

    Raises:
        TypeError: A value has a wrong type.
        InvalidRequestError: A time is not above 0, or a number of an image or of images at a time is too small.
    """
    values = {name: typed(name, _TYPES[name], value) for name, value in options.items() if value is not None}
    if isinstance(outputs := values.get("outputs"), str):
        raise TypeError(f"outputs is {outputs!r}, of type str; expected a list: outputs=[{outputs!r}]")
    for name, (allowed, is_allowed) in _BOUNDS.items():
        if name in values and not is_allowed(values[name]):
            raise refusal(
                f"{name} is {values[name]}; allowed: {allowed}",
                "PARAMETER_OUT_OF_RANGE",
                parameter=name,
                allowed=allowed,
            )
    return values


def at_a_time(concurrency: Any) -> int:
    """Returns how many images are in work at a time.

    Raises:
        TypeError: The number is no int.
        InvalidRequestError: The number is below 1.
    """
    number: int = in_types({"concurrency": concurrency})["concurrency"]
    return number


def _check(given: Mapping[str, Any], known: Collection[str], hints: Mapping[str, str]) -> None:
    for name in given:
        if name in known:
            continue
        if name in hints:
            raise TypeError(f"unknown parameter {name}: {hints[name]}")
        if nearest := difflib.get_close_matches(name, [*known, *hints], 1):
            advice = None if nearest[0] in known else hints[nearest[0]]
            raise TypeError(f"unknown parameter {name}; the nearest is {nearest[0]}{f': {advice}' if advice else ''}")
        raise TypeError(f"unknown parameter {name}; known: {', '.join(known)}")
