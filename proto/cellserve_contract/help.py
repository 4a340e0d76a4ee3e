"""How `--help` of our programs looks: plain text, the options in groups, at the width of the terminal."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

HEADINGS = INPUT, TRAINING, RESULTS, PARAMETERS, SERVER, LARGE, MACHINE, ABLATIONS = (
    "Images", "Training", "Results", "Parameters", "Server", "Large images", "Machine", "Ablations",
)  # fmt: skip
"""Headings of groups of options (`rich_help_panel`), in the order in which they are listed."""

_WIDEST = 120  # columns; wider lines are hard to read


def program(help: str, epilog: str | None = None, *, completion: bool = False) -> typer.Typer:
    """Returns a program without commands; its commands have the class `GroupedCommand`.

    Args:
        help: What it is for.
        epilog: Text below the options.
        completion: True: the program installs completion for shells.
    """
    return typer.Typer(
        help=help,
        epilog=epilog,
        add_completion=completion,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": _WIDEST},
    )


class GroupedCommand(TyperCommand):
    """A command that lists its options under the headings of their `rich_help_panel`."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Returns the words after the name of the command, such as "[OPTIONS] FILE..."."""
        return ["[OPTIONS]", *(_name(entry) for entry in self.get_params(ctx) if entry.param_type_name == "argument")]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes arguments and options."""
        groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in ("Arguments", *HEADINGS)}
        others: list[tuple[str, str]] = []
        for entry in self.get_params(ctx):
            heading = getattr(entry, "rich_help_panel", None)
            if entry.param_type_name == "argument":
                groups["Arguments"].append((_name(entry), getattr(entry, "help", None) or ""))
            elif record := entry.get_help_record(ctx):
                (groups[heading] if heading else others).append(record)
        groups["Other" if any(groups[heading] for heading in HEADINGS) else "Options"] = others
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def _name(argument: Any) -> str:
    return f"{argument.metavar or argument.name.upper()}{'...' if argument.nargs == -1 else ''}"
