"""How much of a network address evidence keeps, and for how long.

A whole one (`ip_evidence` full) lies in its entry under a key of the day it came, inside what the person's own key seals. The
clock destroys that day's key when its time is over (`privacy.periods`): the chain stands, the address is gone, the rest of the
evidence stays. Called by whoever writes evidence, and by whoever shows it.
"""

import base64
from collections.abc import Callable
from datetime import date, datetime
from functools import cached_property
from typing import Any

from sqlmodel import Session, select

from service.db.locks import insert_or_skip, lock_ledger_tail
from service.domain.consent import rules
from service.domain.consent.tables import EvidenceKey
from service.domain.ledger.queries import Seen
from service.domain.ledger.rules import open_part
from service.kit import sealing
from service.kit.signing import Keyring

WHOLE = "full"  # the setting under which a network address is kept whole
_KEY_AT, _IP_AT = "evidence_key|{}", "ip|{}"


def with_kept_ip(
    session: Session, ring: Keyring, said: dict[str, Any], policy: str, *, now: datetime
) -> dict[str, Any]:
    """Evidence with as much of its `ip` as `policy` keeps: nothing, its network, or the whole under the day's key."""
    kept = with_part_of_ip(said, policy)
    if policy == WHOLE and "ip" in kept:
        day = now.date()
        cipher = sealing.seal(
            _day_key(session, ring, day), kept["ip"].encode(), _IP_AT.format(day.toordinal())
        )
        kept["ip"] = {"day": day.isoformat(), "sealed": base64.b64encode(cipher).decode()}
    return kept


def with_part_of_ip(said: dict[str, Any], policy: str) -> dict[str, Any]:
    """The same where no day's key is needed, any policy but `WHOLE`."""
    ip = str(said.get("ip") or "").strip()
    kept = rules.kept_ip(ip, policy) if ip else None
    others = {name: value for name, value in said.items() if name != "ip"}
    return others | ({"ip": kept} if kept else {})


def of_item(
    item: rules.Item, keep: Callable[[dict[str, Any]], dict[str, Any]], *, attest: bool
) -> dict[str, Any] | None:
    """What is sealed of how an answer was said. `keep` leaves of a network address as much as staff have set; of a confirmation
    at the site nothing is kept unless it may attest one."""
    evidence = keep(item.evidence)
    if item.agreed_at:
        evidence["at"] = item.agreed_at.isoformat()
    if item.confirmed and attest:
        evidence["confirmed"] = keep(item.confirmed)
    return evidence or None


def _day_key(session: Session, ring: Keyring, day: date) -> bytes:
    """The key of a day, made by whoever needs it first. The ledger's tail is held before it is made, as everybody who writes
    evidence takes that: two who made it at once would wait for each other."""
    number = day.toordinal()
    row = session.get(EvidenceKey, number)
    if row is None:
        lock_ledger_tail(session)
        sealed = sealing.seal(ring.house_key, sealing.new_key(), _KEY_AT.format(number))
        made = insert_or_skip(session, EvidenceKey, ["id"]).values(id=number, sealed=sealed)
        session.connection().execute(made)
        row = session.get_one(EvidenceKey, number)
    return _opened(ring, row)


def _opened(ring: Keyring, row: EvidenceKey) -> bytes:
    return sealing.unseal(ring.house_key, row.sealed, _KEY_AT.format(row.id))


class Opener:
    """Opens sealed evidence for whoever may see it; the days' keys are read once, when the first of them is needed."""

    def __init__(self, session: Session, ring: Keyring) -> None:
        self._session, self._ring = session, ring

    def open(self, key: bytes, part: dict[str, str], *, subject: str, kind: str) -> dict[str, Any]:
        """The evidence of an entry in clear; an `ip` is None whose time is over. Raises `Unsealable`."""
        return self._with_ips(open_part(key, part, subject=subject, kind=kind))

    def _with_ips(self, found: dict[str, Any]) -> dict[str, Any]:
        """Of the evidence, and of the confirmation at the site within it."""
        if isinstance(found.get("confirmed"), dict):
            found["confirmed"] = self._with_ips(found["confirmed"])
        if isinstance(found.get("ip"), dict):
            found["ip"] = self._ip(found["ip"])
        return found

    def _ip(self, kept: dict[str, str]) -> str | None:
        number = date.fromisoformat(kept["day"]).toordinal()
        key = self._days.get(number)
        if key is None:
            return None
        return sealing.unseal(key, base64.b64decode(kept["sealed"]), _IP_AT.format(number)).decode()

    @cached_property
    def _days(self) -> dict[int, bytes]:
        rows = self._session.exec(select(EvidenceKey)).all()
        return {row.id: _opened(self._ring, row) for row in rows if row.id is not None}


def agreed_at(session: Session, ring: Keyring, key: bytes, seen: Seen) -> datetime | None:
    """When the answer behind an entry was said, or confirmed at the site; None where its evidence has no day, or does not open."""
    part = seen.body.get("evidence")
    try:
        found = (
            Opener(session, ring).open(key, part, subject=seen.subject or "", kind=seen.kind) if part else {}
        )
    except sealing.Unsealable:
        return None
    told = [found.get("at"), (found.get("confirmed") or {}).get("at")]
    return max((datetime.fromisoformat(one) for one in told if one), default=None)
