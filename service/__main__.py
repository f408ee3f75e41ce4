"""`bidden`, and `python -m service`, which is the same."""

from service.cli.main import app


def main() -> None:
    """Run the command line."""
    app(prog_name="bidden")


if __name__ == "__main__":
    main()
