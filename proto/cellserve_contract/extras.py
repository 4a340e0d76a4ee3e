"""Parts of an installation: what a command says whose extra is not installed."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from importlib import metadata

_DISTRIBUTION = "cellserve"
_REQUIREMENT = re.compile(r"""(?P<name>[\w.-]+)(\[(?P<extra>[\w-]+)])?.*;.*\bextra == ["'](?P<of>[\w-]+)["']""")


class MissingExtraError(ImportError):
    """An extra is not installed; the message has the line that installs the extra."""


@contextlib.contextmanager
def naming_extra(user: str, extra: str) -> Iterator[None]:
    """Names the extra, if the body imports a module of that extra in vain.

    A missing module for which the extra is not to blame is raised as it is: a module of our own, or any module once all
    packages of the extra are there.

    Args:
        user: What needs the module, the first words of the message.
        extra: Name of the extra.

    Raises:
        MissingExtraError: The message names the missing module.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = error.name or ""
        if module.startswith(_DISTRIBUTION) or not missing_packages(extra):
            raise
        raise MissingExtraError(
            f"{user} needs {module.partition('.')[0]}, which is not installed. Install the part '{extra}' of "
            f"CellServe:\n    pip install '{_DISTRIBUTION}[{extra}]'"
        ) from error


@contextlib.contextmanager
def needs_extra(command: str, extra: str) -> Iterator[None]:
    """Ends `command` with the message of `naming_extra`, if the body imports a module of an extra in vain.

    Raises:
        SystemExit: Status 1; the message names the missing module and the extra.
    """
    try:
        with naming_extra(command, extra):
            yield
    except MissingExtraError as error:
        sys.exit(str(error))


def missing_packages(extra: str) -> list[str]:
    """Returns the packages of an extra that are not installed, those of the extras it includes among them."""
    missing = []
    for line in metadata.requires(_DISTRIBUTION) or ():
        requirement = _REQUIREMENT.match(line)
        if requirement is None or requirement["of"] != extra:
            continue
        if requirement["name"] == _DISTRIBUTION:
            missing += missing_packages(requirement["extra"])
        elif not _is_installed(requirement["name"]):
            missing.append(requirement["name"])
    return sorted(set(missing))


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
