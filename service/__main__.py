"""`bidden`, and `python -m service`, which is the same."""

import sys

from service.cli.main import app
from service.kit import logs


def main() -> None:
    """Run the command line. An error that nobody has foreseen ends it, with a traceback that holds nobody's data."""
    try:
        app(prog_name="bidden")
    except Exception as error:
        sys.stderr.write(logs.traced(error) + "\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
