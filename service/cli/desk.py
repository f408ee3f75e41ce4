"""What every command leans on: the opened house, one way to say what was done, one way to say what was refused."""

import errno
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, ParamSpec, TextIO, TypeVar

import typer
from pydantic import ValidationError
from sqlalchemy.exc import DatabaseError, OperationalError, ProgrammingError
from sqlmodel import Session

from service import fence
from service.config import Settings
from service.db.engine import is_damaged
from service.db.session import reading, snapshot
from service.kit.errors import DatabaseDamaged, DomainError
from service.kit.signing import KeyFileRefused
from service.ops import ring_fits
from service.ops.house import House, open_house

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
BY = "cli"
_opened: list[House] = []
IN_FLIGHT = "Recorded; a message already on its way may still arrive."

# The next step where the code alone tells it: where the right name is found, what is left of a broken chain.
NEXT = {
    "key_unknown": "bidden keys list",
    "selector_unknown": "bidden brand dkim show",
    "ledger_broken": "Keep the database as it is, and compare it with the last backup.",
}

# A file that is not there, may not be read, or stands where a directory should, or the other way round.
MISPLACED = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)

# A disk that is full, over somebody's share of it, worn out, or there to be read alone.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)

Json = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


def group(about: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(help=about, no_args_is_help=True, pretty_exceptions_enable=False)


def command(run: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Turn what a person can mend into an answer and exit code 1."""

    @functools.wraps(run)
    def guarded(*args: Parameters.args, **said: Parameters.kwargs) -> Result:
        as_json = bool(said.get("as_json"))
        try:
            return run(*args, **said)
        except DomainError as error:
            refuse(error.detail, why=error.code, field=error.field, then=error.fix, as_json=as_json)
        except (KeyFileRefused, *MISPLACED) as error:
            refuse(str(error), why=type(error).__name__, as_json=as_json)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            what = f"What was to be written could not be: {error}."
            then = "Make room, or name another place; then run it again."
            refuse(what, why="not_written", then=then, as_json=as_json)
        except ValidationError as error:
            refuse(_of_settings(error), why="config", then="See docs/configuration.md.", as_json=as_json)
        except (OperationalError, ProgrammingError):
            then = "bidden db check (is it up, and upgraded?); then: bidden db upgrade"
            refuse("The database cannot be used.", why="database", then=then, as_json=as_json)
        except DatabaseError as error:
            if not is_damaged(error):
                raise
            refuse(
                DatabaseDamaged().detail,
                why=DatabaseDamaged.code,
                then=DatabaseDamaged.fix_hint,
                as_json=as_json,
            )
        finally:
            while _opened:
                _opened.pop().engine.dispose()

    return guarded


@contextmanager
def new_file(file: Path) -> Iterator[TextIO]:
    """A file of its owner alone, in UTF-8, that takes its name when it is whole: half of one would pass for all of it."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(descriptor, "w", encoding="utf-8", newline="") as opened:
            yield opened
        draft.rename(file)
    finally:
        draft.unlink(missing_ok=True)


def _of_settings(error: ValidationError) -> str:
    """What is wrong with the settings, without any value: an address there may hold a password (P6)."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    name = "BIDDEN_" + "_".join(str(part) for part in first["loc"]).upper() if first["loc"] else "BIDDEN_*"
    return f"{name}: {first['msg'].removeprefix('Value error, ')}"


def refuse(
    what: str, *, why: str, field: str | None = None, then: str | None = None, as_json: bool = False
) -> NoReturn:
    """Say what was not done, why, and the next step where one is the way to mend it; exit code 1."""
    then = then or NEXT.get(why)
    if as_json:
        print(
            json.dumps(
                {"error": {"code": why, "detail": what, "field": field, "fix": then}}, ensure_ascii=False
            )
        )
    else:
        print(f"Not done: {what}", file=sys.stderr)
        print(f"  why:  {why}" + (f", {field}" if field else ""), file=sys.stderr)
        if then:
            print(f"  next: {then}", file=sys.stderr)
    raise typer.Exit(1)


def settings() -> Settings:
    """The settings of this process."""
    return Settings()


def house() -> House:
    """The installation this command works on; closed when the command ends."""
    _opened.append(open_house(settings()))
    return _opened[-1]


def house_that_runs() -> House:
    """The same for a process that stays; not with a ring that is not this database's."""
    opened = house()
    ring_fits.refuse_unfit(opened)
    opened.watch_ring()
    return opened


def ask(opened: House, question: Callable[[Session], Result]) -> Result:
    """A reading transaction around one question."""
    with reading(opened.engine) as session:
        return question(session)


def ask_once(opened: House, question: Callable[[Session], Result]) -> Result:
    """The same around a question of many statements, whose answers have to be of one moment."""
    with snapshot(opened.engine) as session:
        return question(session)


def change(opened: House, action: Callable[[Session], Result], *, as_json: bool = False) -> Result:
    """One transaction, and the wait for the fence."""
    fenced = fence.perform_now(opened, action)
    if not fenced.settled and not as_json:
        print(IN_FLIGHT, file=sys.stderr)
    return fenced.value


def say(facts: dict[str, Any], words: str, *, as_json: bool) -> None:
    """The answer: as JSON for programs, as words for people."""
    print(json.dumps(facts, ensure_ascii=False, default=_plain) if as_json else words)


def say_report(facts: dict[str, Any], *, as_json: bool) -> None:
    """The report of a mailing (`reports.queries.report`), a line for each outcome that somebody had."""
    why = f" ({facts['reason']})" if facts["reason"] else ""
    lines = [f"{facts['state']}{why}; planned {facts['planned']}"]
    for state, count in facts["outcomes"].items():
        if isinstance(count, dict):
            lines += [f"  {state} ({reason}): {people}" for reason, people in sorted(count.items())]
        elif count:
            lines.append(f"  {state}: {count}")
    lines += [f"  left out ({reason}): {people}" for reason, people in sorted(facts["excluded"].items())]
    say(facts, "\n".join(lines), as_json=as_json)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)
