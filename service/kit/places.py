"""Where the files lie that are not Python: mail and page templates, in a checkout and in the installed
wheel alike."""

from functools import lru_cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


@lru_cache(maxsize=1)
def templates_dir() -> Path:
    """The folder that holds `emails/` and `web/`.

    The wheel carries it inside the package as `service/_templates`; a checkout has it beside the package.
    Raises FileNotFoundError when neither is there, which means a broken installation.
    """
    for place in (PACKAGE / "_templates", PACKAGE.parent / "templates"):
        if (place / "emails").is_dir():
            return place
    raise FileNotFoundError(f"No templates beside {PACKAGE}: the installation is not complete.")
