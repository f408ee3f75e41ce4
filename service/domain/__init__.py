"""The features: what Bidden knows and may do. Each knows only those below it (design.md 3)."""

import importlib.util
import pkgutil


def load_tables() -> None:
    """Import every feature's tables, so that references between them resolve; whoever makes an engine calls this once."""
    for feature in pkgutil.iter_modules(__path__):
        name = f"{__name__}.{feature.name}.tables"
        if importlib.util.find_spec(name):
            importlib.import_module(name)
