"""`python -m cellserve` is the command line."""

from .cli import main

main()
