"""The demo's content, made as anybody would make it: over the HTTP API, and mailed by the running sender.

Only staff, brand and the API key are made here by hand. What was begun is continued after a restart, and what is done
is left alone. Called by `bidden demo`.
"""

import json
import os
import re
import secrets
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from service.db.session import reading, transaction
from service.domain.api_keys import actions as api_keys
from service.domain.brands import actions as brands
from service.domain.staff import actions as staff
from service.domain.staff import queries as colleagues
from service.kit import addresses, clock
from service.ops import captured, demo_people
from service.ops import demo_words as words
from service.ops.house import House

BY = "system"
ADMIN = "mara@example.org"
STAFF = (
    (ADMIN, "Mara Lindgren", "admin"),
    ("jana@example.org", "Jana Kowalczyk", "marketing"),
    ("teo@example.org", "Teo Marchetti", "product"),
    ("ines@example.org", "Inês Carvalho", "privacy_officer"),
)
BRAND = {
    "title": "Kettle Works",
    "postal_address": "Kettle Works\nMill Lane 1\n12345 Riverton",
    "colour": "#0B6B5D",
}
STOPS = 6  # readers who stop the first mailing by its own link
PATIENCE = 120.0  # seconds for one mailing to be sent
_LINK = re.compile(r"<[^>]*?(/u/[A-Za-z2-7]+)>")


class DemoStuck(Exception):
    """The demo data could not be made; the message says where it stopped."""


def furnish(house: House) -> None:
    """Brand, staff and the key the demo speaks with; what is there stays."""
    now = clock.now()
    _plan(house)
    with transaction(house.engine) as session:
        if colleagues.any_staff(session):
            return
        brands.set_fields(session, "default", BRAND, now=now, by=BY)
        for email, name, role in STAFF:
            address, password = addresses.parse(email), secrets.token_urlsafe(24)
            invited = staff.invite(
                session, house.ring, address=address, name=name, role=role, mail=False, now=now, by=BY
            )
            staff.accept(
                session, house.ring, invited.token, name=name, password=password, address=None, now=now
            )


def sign_in_link(house: House) -> str:
    """A link that signs the demo's admin in, once, within the hour."""
    now = clock.now()
    with transaction(house.engine) as session:
        member = colleagues.member_by_address(session, house.ring, addresses.parse(ADMIN))
        if member is None or member.id is None:
            raise DemoStuck("there is no demo admin; was this data directory used for something else?")
        token = staff.sign_in_token(session, member.id, now=now, by=BY)
    return f"{house.settings.base_url}/staff/start/{token}"


def _plan_file(house: House) -> Path:
    return house.settings.data_dir / "demo.json"


def _plan(house: House) -> dict[str, Any]:
    """The demo's key and when it was begun: the same after a restart, so that every repeat is a repeat."""
    path = _plan_file(house)
    if path.exists():
        known: dict[str, Any] = json.loads(path.read_text())
        return known
    now = clock.now()
    with transaction(house.engine) as session:
        made = api_keys.create(session, name="Demo", source="shop", scopes=["all"], now=now, by=BY)
    plan = {"key": made.plaintext, "begun_at": now.isoformat(), "done": False}
    _write(path, plan)
    return plan


def _write(path: Path, plan: dict[str, Any]) -> None:
    draft = path.with_suffix(".draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(plan, file)
    draft.replace(path)


def fill(house: House, url: str, say: Callable[[str], None]) -> None:
    """Make people, mailings and notices over HTTP at `url`. Raises `DemoStuck`."""
    plan = _plan(house)
    if plan["done"]:
        return
    begun_at = datetime.fromisoformat(plan["begun_at"])
    host = house.settings.base_url.partition("://")[2].partition("/")[0]
    headers = {"authorization": f"Bearer {plan['key']}", "host": host}
    with httpx2.Client(base_url=url, headers=headers, timeout=60) as client:
        try:
            say(f"Making {demo_people.COUNT} invented people …")
            _people(client, begun_at)
            say("Sending four mailings into the captured inbox …")
            _history(house, client)
        except httpx2.HTTPError as error:
            raise DemoStuck(f"the web process does not answer ({type(error).__name__})") from error
    _write(_plan_file(house), {**plan, "done": True})


def _people(client: httpx2.Client, begun_at: datetime) -> None:
    lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in demo_people.people(begun_at))
    headers = {"content-type": "application/x-ndjson", "idempotency-key": "demo-people"}
    answer = client.post("/api/v1/people/bulk", content=lines.encode(), headers=headers)
    _check(answer)
    for line in answer.text.splitlines():
        if json.loads(line)["status"] >= 300:
            raise DemoStuck(f"a person was refused: {line}")


def _history(house: House, client: httpx2.Client) -> None:
    """Three announcements and one mailed notice that were sent, one that is due tomorrow, and a draft."""
    _publish(client, "recall", words.RECALL)
    _publish(client, "notice", words.NOTICE)
    _send(client, "launch", words.LAUNCH)
    _stop_some(house, client)
    _send(client, "workshop", words.WORKSHOP)
    _send(client, "letter", words.LETTER)
    tomorrow = (clock.now() + timedelta(days=1)).date().isoformat()
    _schedule(
        client,
        _create(client, "spring", words.SPRING),
        "spring",
        {"at": f"{tomorrow}T09:00", "zone": "Europe/Berlin"},
    )
    _create(client, "draft", words.DRAFT)


def _create(client: httpx2.Client, name: str, said: dict[str, Any]) -> dict[str, Any]:
    return _post(client, "/api/v1/announcements", said, f"demo-{name}")


def _schedule(client: httpx2.Client, made: dict[str, Any], name: str, when: dict[str, str]) -> None:
    """The three steps, each only where it still has to be taken."""
    path = f"/api/v1/announcements/{made['id']}"
    state = _get(client, path)["state"]
    if state == "draft":
        state = _post(client, f"{path}/submit", {}, f"demo-{name}-submit")["state"]
    if state == "in_review":
        hashed = {"content_hash": _get(client, path)["content_hash"]}
        state = _post(client, f"{path}/approve", hashed, f"demo-{name}-approve")["state"]
    if state == "approved":
        _check(client.post(f"{path}/schedule", json=when))


def _send(client: httpx2.Client, name: str, said: dict[str, Any]) -> None:
    made = _create(client, name, said)
    _schedule(client, made, name, {"at": clock.now().isoformat(timespec="seconds")})
    _wait(client, f"/api/v1/announcements/{made['id']}/report")


def _publish(client: httpx2.Client, name: str, said: dict[str, Any]) -> None:
    made = _post(client, "/api/v1/notices", said, f"demo-{name}")
    if _get(client, f"/api/v1/notices/{made['id']}")["state"] == "draft":
        _post(client, f"/api/v1/notices/{made['id']}/publish", {}, f"demo-{name}-publish")


def _wait(client: httpx2.Client, path: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while (report := _get(client, path))["state"] != "sent":
        if time.monotonic() > deadline or report["state"] in ("cancelled", "expired", "halted"):
            raise DemoStuck(f"a mailing is {report['state']} ({report['reason']}) instead of sent")
        time.sleep(0.2)


def _stop_some(house: House, client: httpx2.Client) -> None:
    """A few readers stop by the link in the mail they got, as their mailbox provider would do it for them."""
    for path in _stop_links(house):
        _check(client.post(path, data={"List-Unsubscribe": "One-Click"}))


def _stop_links(house: House) -> list[str]:
    with reading(house.engine) as session:
        listed = captured.page(session, find="quiet kettle", limit=STOPS).rows
        mails = [captured.parse(captured.one(session, one.id).content) for one in listed]
    found = [_LINK.search(str(mail.get("List-Unsubscribe", ""))) for mail in mails]
    return [link[1] for link in found if link]


def _get(client: httpx2.Client, path: str) -> dict[str, Any]:
    return _json(client.get(path))


def _post(client: httpx2.Client, path: str, said: dict[str, Any], repeat: str) -> dict[str, Any]:
    return _json(client.post(path, json=said, headers={"idempotency-key": repeat}))


def _json(answer: httpx2.Response) -> dict[str, Any]:
    _check(answer)
    read: dict[str, Any] = answer.json()
    return read


def _check(answer: httpx2.Response) -> None:
    if answer.status_code >= 300:
        raise DemoStuck(f"{answer.request.method} was answered {answer.status_code}: {answer.text[:300]}")
