"""What the captured inbox took, for the page /inbox, which exists only while nothing leaves this machine.

`bidden inbox` hands each mail to `keep`; the page asks the rest. Nothing here is a domain matter: no ledger
entry is written, and emptying the inbox forgets everything.
"""

import email.policy
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.parser import BytesParser

from sqlalchemy import ColumnElement, LargeBinary, delete, func, or_, select
from sqlmodel import Field, Session, SQLModel, col

from service.db.session import transaction
from service.inbox import Captured
from service.kit import paging
from service.kit.errors import NotFound
from service.ops.house import House

MOST_KEPT = 20_000  # the oldest make room


class MailUnknown(NotFound):
    """There is no such mail in the captured inbox (any more)."""


class CapturedMail(SQLModel, table=True):
    """One mail as one recipient would have got it, byte for byte."""

    __tablename__ = "captured_mail"

    id: int | None = Field(default=None, primary_key=True)
    mail_from: str = Field(max_length=400)
    rcpt: str = Field(max_length=400)
    subject: str = Field(max_length=1000)
    content: bytes = Field(sa_type=LargeBinary)
    at: datetime


@dataclass(frozen=True)
class Listed:
    """A line of the list, without the content."""

    id: int
    rcpt: str
    subject: str
    at: datetime


def keep(house: House, mail: Captured) -> None:
    """Store one mail; committed when this returns, so that the server may answer 250."""
    subject = " ".join(str(parse(mail.data).get("Subject", "")).split())
    with transaction(house.engine) as session:
        row = CapturedMail(
            mail_from=mail.mail_from[:400],
            rcpt=mail.rcpt[:400],
            subject=subject[:1000],
            content=mail.data,
            at=mail.at,
        )
        session.add(row)
        session.flush()
        if row.id is not None and row.id % 500 == 0:
            session.connection().execute(
                delete(CapturedMail).where(col(CapturedMail.id) <= row.id - MOST_KEPT)
            )


def parse(content: bytes) -> EmailMessage:
    """The message as Python reads it (a second reading beside our own assembler's)."""
    return BytesParser(policy=email.policy.default).parsebytes(content)


def page(
    session: Session,
    *,
    find: str = "",
    to: str | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> paging.Page[Listed]:
    """The mails, newest first; `find` is part of a recipient or a subject, `to` a whole recipient."""
    key, size = paging.decode(after), paging.size(limit)
    columns = (col(CapturedMail.id), col(CapturedMail.rcpt), col(CapturedMail.subject), col(CapturedMail.at))
    statement = select(*columns).order_by(col(CapturedMail.id).desc()).limit(size + 1)
    if isinstance(key, int):
        statement = statement.where(col(CapturedMail.id) < key)
    if to is not None:
        statement = statement.where(_sent_to(to))
    if find:
        like = {"other": find, "autoescape": True}
        statement = statement.where(
            or_(col(CapturedMail.rcpt).icontains(**like), col(CapturedMail.subject).icontains(**like))
        )
    rows = [
        Listed(row.id or 0, row.rcpt, row.subject, row.at) for row in session.connection().execute(statement)
    ]
    return paging.Page(rows[:size], paging.encode(rows[size - 1].id) if len(rows) > size else None)


def _sent_to(address: str) -> ColumnElement[bool]:
    return func.lower(col(CapturedMail.rcpt)).in_({address.lower(), _plainly_lowered(address)})


def _plainly_lowered(text: str) -> str:
    """As SQLite lowers: the letters of ASCII only."""
    return text.encode().lower().decode()


def count(session: Session, *, to: str | None = None) -> int:
    """How many mails are kept, of all or of one recipient's."""
    statement = select(func.count()).select_from(CapturedMail)
    if to is not None:
        statement = statement.where(_sent_to(to))
    return session.connection().execute(statement).scalar_one()


def one(session: Session, mail_id: int, *, to: str | None = None) -> CapturedMail:
    """One mail. Raises `MailUnknown`, also for another recipient's when `to` is said."""
    row = session.get(CapturedMail, mail_id)
    if row is None or (to is not None and row.rcpt.lower() != to.lower()):
        raise MailUnknown
    return row


def forget(session: Session, addresses: Sequence[str]) -> int:
    """Forget every mail to these addresses (their owner was erased); how many there were."""
    wanted = {one.lower() for one in addresses}
    if not wanted:
        return 0
    plain = {one for one in wanted if one.isascii()}
    theirs = func.lower(col(CapturedMail.rcpt)).in_(plain)
    gone = session.connection().execute(delete(CapturedMail).where(theirs)).rowcount if plain else 0
    for one in wanted - plain:  # SQLite does not lower what is not ASCII, but a domain is
        there = select(col(CapturedMail.id), col(CapturedMail.rcpt)).where(
            func.lower(col(CapturedMail.rcpt)).endswith(f"@{one.rpartition('@')[2]}", autoescape=True)
        )
        ids = [number for number, rcpt in session.connection().execute(there) if rcpt.lower() == one]
        gone += (
            session.connection().execute(delete(CapturedMail).where(col(CapturedMail.id).in_(ids))).rowcount
        )
    return gone


def empty(session: Session) -> None:
    """Forget them all."""
    session.connection().execute(delete(CapturedMail))
