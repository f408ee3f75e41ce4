"""Logs as JSON lines without anybody's data: no address, no token, no full path ever gets in (P6).

Set up once per process by whoever assembles it.
"""

import json
import logging
import re
import sys
import traceback

_ADDRESS = re.compile(r"[^\s<>\"'=:,;]+@[^\s<>\"',;]+")
_TOKEN = re.compile(r"/(u|p|why|confirm|me/enter|staff/start)/[\w-]{20,}")


def mask(text: str) -> str:
    """Take addresses and link tokens out of a line; control characters are written as escapes (N19)."""
    text = _TOKEN.sub(r"/\1/…", _ADDRESS.sub("…@…", text) if "@" in text else text)
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


class JsonLines(logging.Formatter):
    """One line per record: time, level, logger, message, and whatever was passed as `extra={"facts": {…}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one JSON line."""
        line: dict[str, object] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "from": record.name,
            "says": mask(record.getMessage()),
        }
        line.update(getattr(record, "facts", {}))
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])[-6:]
            line["where"] = [
                f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames
            ]
        return json.dumps(line, ensure_ascii=False)


def traced(error: BaseException) -> str:
    """Where an error came from and of what kind it is, as Python tells it, but without its words: those of a database or a parser
    repeat what they were given."""
    kind = type(error)
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"Traceback (most recent call last):\n{frames}{kind.__module__}.{kind.__qualname__}"


def set_up(level: str = "INFO") -> None:
    """Send every logger through `JsonLines` to standard error; libraries that print data are kept at warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # A tick that comes while the last one is still at work is left out on purpose (`max_instances`), and what fails in
    # a job is told by `bidden.clock` itself; APScheduler's own warnings say only that. Its errors are shown.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    for talkative in ("uvicorn.access", "mail.log", "httpx2", "alembic"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
