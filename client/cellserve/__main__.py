"""`python -m cellserve` is the command line."""

from .cli import app

app(prog_name="cellserve")
