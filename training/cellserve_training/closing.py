"""What a training says at its end: what it reached, what it wrote, what comes next."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from cellserve_networks.network import CPnet

from .augment import Example
from .journal import CURVES, LOG, duration, read_log
from .loop import Run
from .segment import mean_precision
from .state import NETWORK, STATE

MOST_SCORED = 16
"""Images kept back that are segmented at the end of a training: more would take minutes."""


def closing(
    run: Run, network: CPnet, folders: Sequence[Path], examples: Sequence[Example], held_out: Sequence[Example]
) -> list[str]:
    """Describes a training that has ended, in lines for the terminal.

    Args:
        run: The training.
        network: What it came to.
        folders: Where the labelled images lie.
        examples: Images it was trained on.
        held_out: Images that were kept back; the first `MOST_SCORED` are segmented.
    """
    rows = read_log(run.folder / LOG)
    checkpoint = run.folder / NETWORK
    lines = [f"trained {run.schedule.steps} steps on {len(examples)} images"]
    if rows:
        lines[0] += f" in {duration(rows[-1].seconds)}; loss {rows[-1].loss:.4f}, {rows[0].loss:.4f} in the beginning"
    if held_out:
        seen = [example.sample for example in held_out[:MOST_SCORED]]
        precision = mean_precision(network, seen)
        lines.append(f"average precision at IoU .5 on images that were kept back ({len(seen)}): {precision:.3f}")
    else:
        lines.append(
            "no image was kept back (--validation), so that nothing is known yet about images it was not trained on"
        )
    lines += [
        f"wrote {checkpoint}: the network, a checkpoint that Cellpose reads, too",
        f"      {run.folder / STATE}: what --steps {2 * run.schedule.steps} would go on from",
        f"      {run.folder / LOG}" + (f", {run.folder / CURVES}: the losses" if len(rows) > 1 else ": the losses"),
        "next:",
        f"  score   {_score(run, folders)}",
        f"  export  {_command('cellserve-export', 'family', _family(run.folder), '--checkpoint', checkpoint)}",
    ]
    return lines


def _score(run: Run, folders: Sequence[Path]) -> str:
    tests = [folder for folder in folders if (folder / "test").is_dir() or (folder / "images" / "test").is_dir()]
    return _command("cellserve-train", "evaluate", *(tests or [Path("TEST_IMAGES")]), "--network", run.folder / NETWORK)


def _family(folder: Path) -> str:
    """A name of a family, as near to that of the folder as is allowed."""
    name = re.sub(r"[^a-z0-9_-]+", "_", folder.resolve().name.lower()).lstrip("_-")
    return f"{name}_cells" if not name or name.isdigit() or name.endswith(("_single", "_style")) else name


def _command(*words: str | Path) -> str:
    return shlex.join(str(word) for word in words)
