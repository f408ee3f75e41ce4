"""The topics people can agree to, with the words to show them now."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from sqlmodel import Session

from service.api import deps
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic

router = APIRouter(tags=["topics"])
Reader = Annotated[deps.Caller, Depends(deps.key("topics:read"))]


class WordingShown(BaseModel):
    """The words to show somebody who is asked, and the id to send back with the answer."""

    id: str
    version: int
    title: str
    frequency: str
    text: str
    sha256: str


class TopicShown(BaseModel):
    """One topic. `wordings` holds the current words in each language."""

    topic: str
    mail_class: str
    basis: str
    visibility: str
    cadences: list[str]
    double_opt_in: bool
    wordings: dict[str, WordingShown]


class Topics(BaseModel):
    """Every open topic this key may know of."""

    items: list[TopicShown]
    next: str | None = None


@router.get("/topics")
def listed(request: Request, caller: Reader) -> Topics:
    """The topics, in the order people see them."""

    def ask(session: Session) -> Topics:
        return Topics(
            items=[_shown(session, topic) for topic in topics.active(session) if caller.sees(topic.slug)]
        )

    return deps.read(request, ask)


def _shown(session: Session, topic: Topic) -> TopicShown:
    assert topic.id is not None
    words = {
        locale: WordingShown(
            id=said.public_id,
            version=said.version,
            title=said.title,
            frequency=said.frequency,
            text=said.text,
            sha256=said.sha256,
        )
        for locale, said in topics.current_wordings(session, topic.id).items()
    }
    return TopicShown(
        topic=topic.slug,
        mail_class=topic.mail_class,
        basis=topic.basis,
        visibility=topic.visibility,
        cadences=list(topic.cadences),
        double_opt_in=topic.double_opt_in,
        wordings=words,
    )
