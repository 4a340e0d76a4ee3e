"""How `--help` looks: plain text, the options of a command in groups, at the width of the terminal."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

INPUT, RESULTS, PARAMETERS, SERVER, OTHER = "Images", "Results", "Parameters", "Server", "Other"
"""Headings of groups of options, in the order in which they are listed."""

WIDEST = 120
"""Columns; wider lines are hard to read."""


class GroupedCommand(TyperCommand):
    """A command that lists its options under the headings of their `rich_help_panel`."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Returns the words after the name of the command, such as "[OPTIONS] FILE..."."""
        return ["[OPTIONS]", *(_name(entry) for entry in self.get_params(ctx) if entry.param_type_name == "argument")]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes arguments and options."""
        groups: dict[str, list[tuple[str, str]]] = {
            heading: [] for heading in ("Arguments", INPUT, RESULTS, PARAMETERS, SERVER, OTHER)
        }
        for entry in self.get_params(ctx):
            if entry.param_type_name == "argument":
                groups["Arguments"].append((_name(entry), getattr(entry, "help", None) or ""))
            elif record := entry.get_help_record(ctx):
                groups[getattr(entry, "rich_help_panel", None) or OTHER].append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def _name(argument: Any) -> str:
    return f"{argument.metavar or argument.name}{'...' if argument.nargs == -1 else ''}"
