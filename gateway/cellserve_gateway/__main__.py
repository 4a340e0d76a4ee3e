"""`cellserve-gateway`, also as `python -m cellserve_gateway`."""

from cellserve_contract.extras import needs_extra


def main() -> None:
    """Runs the gateway. All settings come from the environment (CELLSERVE_*)."""
    with needs_extra("cellserve-gateway", "gateway"):
        from .server import main as run
    run()


if __name__ == "__main__":
    main()
