"""Reading topics and their wordings."""

from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from service.domain.policies.rules import best_locale
from service.domain.topics import rules
from service.domain.topics.tables import Topic, Wording


def by_slug(session: Session, slug: str) -> Topic:
    """One topic by its short name, retired ones too. Raises `TopicUnknown`."""
    topic = session.exec(select(Topic).where(col(Topic.slug) == slug)).first()
    if topic is None:
        raise rules.TopicUnknown(field="topic")
    return topic


def by_id(session: Session, topic_id: int) -> Topic:
    """One topic by its row number. Raises `TopicUnknown`."""
    topic = session.get(Topic, topic_id)
    if topic is None:
        raise rules.TopicUnknown(field="topic")
    return topic


# Made once: every no asks it, and making a statement costs as much as running it.
_BY_ALIAS = select(Topic).where(col(Topic.alias) == bindparam("alias"))


def by_alias(session: Session, alias: int) -> Topic | None:
    """The topic whose number stands in a link, if this database has it."""
    return session.exec(_BY_ALIAS, params={"alias": alias}).first()


_EVERYTHING = select(Topic).order_by(col(Topic.position), col(Topic.id))
_EVERY_WORDING = select(Wording).order_by(col(Wording.version).desc(), col(Wording.locale))


def everything(session: Session) -> list[Topic]:
    """Every topic, in the order readers see them."""
    return list(session.exec(_EVERYTHING))


def active(session: Session) -> list[Topic]:
    """Topics that are not retired."""
    return [topic for topic in everything(session) if topic.state == "active"]


def public(session: Session) -> list[Topic]:
    """Topics anybody may be shown and choose."""
    return [topic for topic in active(session) if topic.visibility == "public"]


def wordings(session: Session, topic_id: int) -> list[Wording]:
    """Every wording of a topic, newest version first."""
    ordered = (col(Wording.version).desc(), col(Wording.locale))
    return list(session.exec(select(Wording).where(col(Wording.topic_id) == topic_id).order_by(*ordered)))


def wordings_by_topic(session: Session) -> dict[int, list[Wording]]:
    """Every wording there is, newest version first, by the topic's row number; in one statement, for bulk work."""
    found: dict[int, list[Wording]] = {}
    for wording in session.exec(_EVERY_WORDING):
        found.setdefault(wording.topic_id, []).append(wording)
    return found


def current_wordings(session: Session, topic_id: int) -> dict[str, Wording]:
    """The newest wording in each language (a correction in one language leaves the others in force)."""
    return newest_of(wordings(session, topic_id))


def newest_of(versions: list[Wording]) -> dict[str, Wording]:
    """Of one topic's wordings, newest first, the first in each language."""
    newest: dict[str, Wording] = {}
    for wording in versions:
        newest.setdefault(wording.locale, wording)
    return newest


def wording_for(session: Session, topic_id: int, locale: str) -> Wording:
    """The wording to show: in that language, else in English or any. Raises `WordingUnknown`."""
    newest = current_wordings(session, topic_id)
    if not newest:
        raise rules.WordingUnknown(field="wording")
    return newest[best_locale(set(newest), locale)]


def wording_by_id(session: Session, wording_id: int) -> Wording:
    """One wording by its row number. Raises `WordingUnknown`."""
    wording = session.get(Wording, wording_id)
    if wording is None:
        raise rules.WordingUnknown(field="wording")
    return wording


def wording_by_public_id(session: Session, public_id: str) -> Wording | None:
    """The wording a form or a site named (`new-products-v1-en`), or None."""
    return session.exec(select(Wording).where(col(Wording.public_id) == public_id)).first()
