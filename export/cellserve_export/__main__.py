"""`cellserve-export`, also as `python -m cellserve_export`."""

from cellserve_contract.extras import needs_extra


def main() -> None:
    """Runs the command line."""
    with needs_extra("cellserve-export", "export"):
        from .cli import app
    app()


if __name__ == "__main__":
    main()
