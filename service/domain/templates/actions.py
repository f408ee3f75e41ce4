"""Saving what a mail says as an immutable version, and pictures by their hash."""

import hashlib
from collections.abc import Iterable
from datetime import datetime

from sqlmodel import Session, col, select

from service.db.locks import insert_or_skip
from service.domain.brands.tables import Brand
from service.domain.ledger import actions as ledger
from service.domain.templates import queries, rules
from service.domain.templates.tables import Media, TemplateVersion
from service.mail import letters


def compile_version(
    session: Session,
    *,
    starter: str,
    mail_class: letters.MailClass,
    locale: str,
    subject: str,
    preheader: str,
    body: str,
    merge: bool,
    brand: Brand,
    base_url: str,
    topic_name: str = "",
    fields: Iterable[str] = (),
    stoppable: bool | None = None,
    now: datetime,
) -> TemplateVersion:
    """Compile and keep one mail; the same content gives the same row. Nothing is compiled at sending.

    `fields` are declared attributes that may be used as merge fields; the rest as in
    `service.mail.letters.build`, whose errors it raises (postal_address_missing, template_*, link_scheme, …),
    each with its field.
    """
    mail = letters.build(
        starter=starter,
        mail_class=mail_class,
        locale=locale,
        subject=subject,
        preheader=preheader,
        body_markdown=body,
        merge=merge,
        brand=queries.look(brand, base_url),
        fields=fields,
        topic_name=topic_name,
        stoppable=stoppable,
    )
    digest = rules.version_hash(mail.sha256, starter=starter, mail_class=mail_class, locale=locale)
    insert = insert_or_skip(session, TemplateVersion, ["sha256"]).values(
        sha256=digest, starter=starter, locale=locale, mail_class=mail_class, created_at=now,
        subject=mail.subject, preheader=mail.preheader, html=mail.html, text=mail.text,
        fields=list(mail.fields),
    )  # fmt: skip
    session.connection().execute(insert)
    return session.exec(select(TemplateVersion).where(col(TemplateVersion.sha256) == digest)).one()


def keep_media(session: Session, content: bytes, *, now: datetime, by: str) -> Media:
    """Keep a picture under its hash; the same picture gives the same row. Raises `MediaType` or
    `MediaTooLarge`.
    """
    row, fresh = _put(session, content, now)
    if fresh:
        body = {"sha256": row.sha256, "extension": row.extension, "octets": len(content)}
        ledger.append(session, "media.kept", subject=None, body=body, by=by, now=now)
    return row


def ship_media(session: Session, content: bytes, *, now: datetime) -> Media:
    """Keep a picture that comes with this version, for the starters: nobody's act, so without an entry."""
    return _put(session, content, now)[0]


def _put(session: Session, content: bytes, now: datetime) -> tuple[Media, bool]:
    """The row of a picture, and whether it is new."""
    picture = rules.read_picture(content)
    digest = hashlib.sha256(content).hexdigest()
    row = {
        "sha256": digest,
        "extension": picture.extension,
        "content": content,
        "width": picture.width,
        "height": picture.height,
        "created_at": now,
    }
    insert = insert_or_skip(session, Media, ["sha256"]).values(row).returning(col(Media.sha256))
    fresh = session.connection().execute(insert).first() is not None
    return session.get_one(Media, digest), fresh
