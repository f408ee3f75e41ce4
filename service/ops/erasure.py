"""Erasing somebody in the whole house: the domain's part, the captured inbox, and what the database file remembers.

Called by the person's own page, the staff's page and the API within their one transaction, by `restored`, which does again what
a copy from an earlier day has not heard of, and by the clock, for what it forgets and for what the file remembers.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy.engine import Engine
from sqlmodel import Session

from service.db.engine import forget_freed
from service.db.session import after_commit, reading
from service.domain.ledger import queries as ledger
from service.domain.ledger import safe
from service.domain.people import erasing as people_erasing
from service.domain.people import mailbox
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import restoring
from service.domain.preferences.restoring import Reapplied
from service.domain.privacy import erasing, queries, requests, retention
from service.domain.privacy.erasing import Erased
from service.domain.privacy.rules import ContactUnknown
from service.kit.clock import from_micros
from service.kit.signing import Keyring
from service.ops import captured
from service.ops.house import House

KIND, MESSAGE = "person.erased", erasing.MESSAGE_ERASED
LEAVES_PAGES = (KIND, MESSAGE, retention.PURGED)
DOORS = {"me": "link", "staff": "staff", "api": "site"}  # how it was done -> by which door it was asked for
_tidied: WeakKeyDictionary[Engine, int] = WeakKeyDictionary()


def erase(
    session: Session, ring: Keyring, person: Person, *, how: str, reason: str = "", now: datetime, by: str
) -> Erased:
    """Erase somebody (`privacy.erasing.erase`), mails in the captured inbox too. Raises `AlreadyErased`."""
    erasing.hold_mails(session, person, how=how)
    person = mailbox.who_is_left(session, person)
    written_to = people_erasing.in_clear(session, ring, erasing.concerned(session, person, how=how))
    asked = requests.asking(session, person, "erasure")
    done = erasing.erase(session, ring, person, how=how, reason=reason, now=now, by=by)
    if how in DOORS:
        requests.fulfilled(session, person, "erasure", door=DOORS[how], asked=asked, now=now, by=by)
    captured.forget(session, written_to)
    if not session.info.get("tidying"):
        session.info["tidying"] = True
        after_commit(session, lambda: _forget_soon(session))
    return done


def forget(session: Session, ring: Keyring, person: Person, *, now: datetime) -> None:
    """Forget a sign-up that nobody confirmed (`privacy.erasing.forget`), its mails in the captured inbox too; what the file remembers
    the clock cuts off (`tidy`), once for all of them."""
    written_to = people_erasing.in_clear(session, ring, [person])
    erasing.forget(session, ring, person, now=now)
    captured.forget(session, written_to)


def erase_message(
    session: Session, ring: Keyring, public_id: str, *, how: str, reason: str = "", now: datetime, by: str
) -> None:
    """Erase a message (`privacy.erasing.erase_message`), and what went to its address in the captured inbox where nobody else here
    has that address. Raises `ContactUnknown`."""
    written_to = queries.alone_with_it(session, ring, public_id)
    erasing.erase_message(session, public_id, how=how, reason=reason, now=now, by=by)
    captured.forget(session, written_to)
    if not session.info.get("tidying"):
        session.info["tidying"] = True
        after_commit(session, lambda: _forget_soon(session))


def _forget_soon(session: Session) -> None:
    engine = session.get_bind()
    if isinstance(engine, Engine):
        forget_freed(engine)  # where somebody reads just now, the clock tries again


def tidy(house: House) -> bool:
    """The database's log is cut to nothing after an erasure, and after what was forgotten by its time (attributes, messages, day keys):
    it holds pages from before. False: not yet, somebody read or wrote.

    Called by the clock, which does it once at its start, too.
    """
    with reading(house.engine) as session:
        last = max(ledger.last_of_kind(session, kind) or 0 for kind in LEAVES_PAGES)
    if not last or _tidied.get(house.engine) == last:
        return True
    if not forget_freed(house.engine):
        return False
    _tidied[house.engine] = last
    return True


def _only_signed_up(session: Session, person: Person, subject: str) -> bool:
    """Whether a copy has of them what they were forgotten for: a sign-up of their own that nobody confirmed."""
    places = people_erasing.addresses_of(session, [person])
    return (person.public_id, person.state) == (subject, "active") and not any(
        row.confirmed_at for row in places
    )


def reapply(session: Session, ring: Keyring, lines: Sequence[dict[str, Any]], *, now: datetime) -> Reapplied:
    """After a restore, before anything else: whoever was erased since the copy was made is erased again, and whoever was forgotten
    because nobody confirmed their sign-up is forgotten again; a message that staff erased is erased again. Of erased people the
    mailbox goes on the do-not-mail list, and what was written from it before goes: the copy may not know yet that it was theirs."""
    again = left = 0
    for line in restoring.unheard(session, [one for one in lines if one["kind"] == MESSAGE]):
        with suppress(ContactUnknown):  # the copy is older than the message
            public_id = str(line.get("subject") or "")
            erase_message(session, ring, public_id, how="restore", now=now, by="system")
            again += 1
    for line in restoring.unheard(session, [one for one in lines if one["kind"] == KIND]):
        subject, mailbox = str(line.get("subject") or ""), line.get("mailbox")
        person = people.by_public_id(session, subject)
        if (line.get("body") or {}).get("how") == safe.FORGOTTEN:
            if person is not None and _only_signed_up(session, person, subject):
                forget(session, ring, person, now=now)
                again += 1
            continue
        if person is not None and person.wrapped_key is not None:
            erase(session, ring, person, how="restore", now=now, by="system")
            again += 1
        if mailbox:
            before = from_micros(int(line["at"]))
            wrote = queries.left_by(session, mailbox, before=before)
            erasing.forget_messages(session, wrote, now=now)
            again += erasing.keep_no(
                session, mailbox, origin="restore", subject=subject or None, now=now, by="system"
            )
        left += person is None and not mailbox
    return Reapplied(again, left)
