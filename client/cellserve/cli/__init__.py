"""The command line: `cellserve segment`, `diameter`, `models` and `health`.

Results go to standard output, progress and errors to standard error. Exit status: 0 all is well, 1 something failed,
2 wrong usage.
"""

from .program import app, main

__all__ = ["app", "main"]
