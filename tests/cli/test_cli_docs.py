"""The pages for operators name every setting and every command there is."""

from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from service.cli.main import app
from service.config import Settings

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented(name: str) -> None:
    assert f"| `{name.upper()}` |" in (DOCS / "configuration.md").read_text()


def commands(found: Any = None, before: str = "") -> list[str]:
    """Every command by its full name, those of groups within groups too."""
    names = []
    for name, one in (found or get_command(app)).commands.items():
        inner = getattr(one, "commands", None)
        names += commands(one, f"{before}{name} ") if inner else [before + name]
    return names


@pytest.mark.parametrize("name", commands())
def test_every_command_is_documented(name: str) -> None:
    text = (DOCS / "operations.md").read_text() + (DOCS / "configuration.md").read_text()
    group, _, step = name.partition(" ")
    assert f"bidden {name}" in text or (group == "announce" and step in text)


@pytest.mark.parametrize("name", commands())
def test_every_command_knows_json(name: str) -> None:
    found = get_command(app)
    for part in name.split():
        found = found.commands[part]  # type: ignore[attr-defined]
    assert any("--json" in one.opts for one in found.params)
    assert found.help
