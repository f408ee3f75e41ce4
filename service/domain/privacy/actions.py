"""Contact requests: asked by anybody, opened and answered by staff. Everything written lies sealed under the
house key.
"""

import base64
from datetime import datetime
from typing import Any

from babel.dates import format_date
from sqlmodel import Session

from service.db.locks import lock_ledger_tail
from service.domain.brands import queries as brands
from service.domain.ledger import actions as ledger
from service.domain.ledger import queries as entries
from service.domain.mailings import actions as mailings
from service.domain.mailings.queries import address_hash
from service.domain.privacy import queries, rules
from service.domain.privacy.tables import ContactRequest
from service.domain.staff import queries as staff
from service.kit import addresses, sealing
from service.kit.chain import canonical
from service.kit.ids import new_id
from service.kit.signing import Keyring

VISITOR = "visitor"
ASKED = "contact.asked"


def ask(
    session: Session,
    ring: Keyring,
    *,
    address: addresses.Address,
    name: str,
    subject: str,
    text: str,
    locale: str,
    now: datetime,
) -> ContactRequest:
    """Keep a question; the same one once more within the hour is a second press and changes nothing.

    Raises `ContactTooOften` (three an hour for one address), `TextEmpty`, `TextTooLong`, …
    """
    asked = {
        "name": rules.check_name(name),
        "subject": rules.check_subject(subject),
        "text": rules.check_text(text),
    }
    lock_ledger_tail(session)  # two presses at once are one, and count as one
    recent = queries.recent(session, address_hash(ring, address), since=now - rules.WINDOW)
    for earlier in recent:
        if queries.asked(ring, earlier) == asked:
            return earlier
    if len(recent) >= rules.MOST:
        raise rules.ContactTooOften
    row = mailings.keep_address(session, ring, address, owner_kind="visitor", owner_id=None, now=now)
    assert row.id is not None
    public_id = new_id("q")
    request = ContactRequest(
        public_id=public_id,
        address_id=row.id,
        sealed=_seal(ring, asked, queries.ASKED_AT.format(public_id)),
        locale=locale,
        created_at=now,
    )
    session.add(request)
    session.flush()
    ledger.append(session, ASKED, subject=public_id, body={}, by=VISITOR, now=now)
    return request


def open_request(
    session: Session, ring: Keyring, public_id: str, *, now: datetime, by: str
) -> queries.Opened:
    """A question in clear; that somebody looked is an entry of its own (standards K8). Raises
    `ContactUnknown`.
    """
    lock_ledger_tail(session)  # so that nothing is shown of what was erased while this waited
    opened = queries.opened(session, ring, queries.by_public_id(session, public_id))
    ledger.append(session, "contact.read", subject=public_id, body={}, by=by, now=now)
    return opened


def answer(session: Session, ring: Keyring, public_id: str, *, text: str, now: datetime, by: str) -> None:
    """Mail an answer; its warrant is the question. Raises `ContactUnknown`, `ContactClosed`, `TextEmpty`,
    `TextTooLong`.
    """
    request = _locked(session, public_id)
    if request.state == "closed":
        raise rules.ContactClosed
    text = rules.check_text(text, field="body")
    given = [
        {"by": one.by, "at": one.at.isoformat(), "text": one.text} for one in queries.answers(ring, request)
    ]
    given.append({"by": by, "at": now.isoformat(), "text": text})
    request.answer = _seal(ring, given, queries.ANSWERED_AT.format(public_id))
    request.state, request.answered_at, request.answered_by = "answered", now, by
    session.flush()
    ledger.append(session, "contact.answered", subject=public_id, body={}, by=by, now=now)
    _mail_answer(session, ring, request, text, now=now, by=by)


def close(session: Session, public_id: str, *, now: datetime, by: str) -> None:
    """Put a request away; nothing happens when it is closed already. Raises `ContactUnknown`."""
    request = _locked(session, public_id)
    if request.state == "closed":
        return
    request.state = "closed"
    session.flush()
    ledger.append(session, "contact.closed", subject=public_id, body={}, by=by, now=now)


def _mail_answer(
    session: Session, ring: Keyring, request: ContactRequest, text: str, *, now: datetime, by: str
) -> None:
    brand = brands.default_brand(session)
    opened = queries.opened(session, ring, request)
    asked = entries.of_subject(session, request.public_id, kinds=(ASKED,))
    assert brand.id is not None
    values = {
        "answer": text,
        "asked_on": format_date(
            request.created_at, "long", locale="de" if request.locale.startswith("de") else "en_GB"
        ),
        "question": opened.text,
        "question_title": rules.subject_in(opened.subject, request.locale),
        "staff_name": staff.names(session, [by]).get(by, brand.title),
    }
    mailings.enqueue_single(
        session,
        purpose=rules.ANSWER_MAIL,
        brand_id=brand.id,
        address_id=request.address_id,
        person_id=None,
        locale=request.locale,
        facts={"sealed": base64.b64encode(_seal(ring, values, f"facts|{rules.ANSWER_MAIL}")).decode()},
        warrant_seq=asked[0].seq,
        now=now,
    )


def _locked(session: Session, public_id: str) -> ContactRequest:
    """The row, locked: after the ledger's tail, as an erasure takes the two, or they would wait for each other."""
    lock_ledger_tail(session)
    request = queries.by_public_id(session, public_id)
    session.refresh(request, with_for_update=True)
    return request


def _seal(ring: Keyring, value: Any, place: str) -> bytes:
    return sealing.seal(ring.house_key, canonical(value).encode(), place)
