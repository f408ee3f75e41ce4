"""`bidden`, and `python -m service`, which is the same."""

import gc
import sys

gc.disable()  # what is imported stays: looking through it for garbage on the way takes a sixth of a process's start
from service.cli.main import app  # noqa: E402
from service.kit import logs  # noqa: E402

gc.freeze()
gc.enable()


def main() -> None:
    """Run the command line. An error that nobody has foreseen ends it, with a traceback that holds nobody's data."""
    try:
        app(prog_name="bidden")
    except Exception as error:
        sys.stderr.write(logs.traced(error) + "\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
