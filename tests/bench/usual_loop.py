"""How mail is usually sent from Python: Jinja2, the standard library's message, `aiosmtplib.send_message`, a row each.

Eight connections, a commit for every outcome. The yardstick, fairly written; nothing of ours is in it.
"""

import asyncio
import sqlite3
import time
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path

import aiosmtplib
import jinja2

from tests.bench.stages import HTML, TEXT


async def _worker(
    port: int,
    queue: "asyncio.Queue[int]",
    templates: tuple[jinja2.Template, jinja2.Template],
    rows: sqlite3.Connection,
) -> None:
    html, text = templates
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, use_tls=False, start_tls=False)
    await client.connect()
    while not queue.empty():
        number = queue.get_nowait()
        values = {"first_name": f"Reader {number}", "stop_url": f"https://acme.example.org/u/{number:066d}"}
        message = EmailMessage()
        message["From"], message["To"] = "Acme <news@acme.example.org>", f"reader{number}@example.org"
        message["Subject"], message["Date"] = f"Reader {number}, the new planner is here", formatdate()
        message["Message-ID"] = make_msgid(domain="acme.example.org")
        message["List-Unsubscribe"] = f"<{values['stop_url']}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        message.set_content(text.render(values))
        message.add_alternative(html.render(values), subtype="html")
        await client.send_message(message)
        rows.execute("INSERT INTO outcome VALUES (?, 'sent', ?)", (number, time.time()))
        rows.commit()
    await client.quit()


async def _all(port: int, people: int, database: Path) -> float:
    rows = sqlite3.connect(database)
    rows.execute("PRAGMA journal_mode=WAL")
    rows.execute("CREATE TABLE outcome (person INTEGER PRIMARY KEY, state TEXT, at REAL)")
    environment = jinja2.Environment(autoescape=True)
    templates = environment.from_string(HTML), jinja2.Environment(autoescape=False).from_string(TEXT)
    queue: asyncio.Queue[int] = asyncio.Queue()
    for number in range(people):
        queue.put_nowait(number)
    began = time.perf_counter()
    await asyncio.gather(*(_worker(port, queue, templates, rows) for _ in range(8)))
    return people / (time.perf_counter() - began)


def run(port: int, people: int, database: Path) -> float:
    """Messages per second of the usual loop."""
    return asyncio.run(_all(port, people, database))
