"""The notice of a policy's version is found by its name, whatever else is called nearly so, and however long the name is."""

from datetime import datetime
from typing import Any

import pytest
from sqlmodel import Session

from service.config import Settings
from service.domain.notices import actions, queries
from service.domain.policies import actions as policies
from service.domain.policies.rules import PolicyText

BY = "staff:s_pia"
SETTINGS = Settings(public_url="https://mail.example.org")
WORDS = {"preheader": "", "body": "Everything that is new in it."}


def publish(session: Session, slug: str, number: int, now: datetime) -> None:
    texts = {"en": PolicyText("Privacy", f"Text {number}.")}
    policies.publish(session, slug=slug, texts=texts, now=now, by=BY)


def of_staff(session: Session, now: datetime, **given: Any) -> None:
    about = {"content": {"en": {"title": "Something of ours", **WORDS}}, "mail": True, **given}
    actions.create(session, SETTINGS, topic="updates", now=now, by=BY, **about)


@pytest.mark.parametrize(
    "title", ["Privacy version 2 explained", "Privacy version 2.1", "Privacy, version 2-A"]
)
def test_a_notice_that_is_called_nearly_so_tells_nobody_of_the_policy(
    session: Session, now: datetime, title: str
) -> None:
    publish(session, "privacy", 2, now)  # the first one is seeded
    of_staff(session, now, content={"en": {"title": title, **WORDS}})
    assert queries.of_policy(session, "privacy", 2) is None
    told = actions.tell_of_policy(session, SETTINGS, "privacy", now=now, by=BY)
    assert told.template == "important-notice"
    assert queries.of_policy(session, "privacy", 2) == told


def test_the_notice_of_another_policy_is_not_taken_for_this_ones(session: Session, now: datetime) -> None:
    for slug in ("terms", "terms-version-2"):
        for number in (1, 2):
            publish(session, slug, number, now)
    other = actions.tell_of_policy(session, SETTINGS, "terms-version-2", now=now, by=BY)
    assert queries.of_policy(session, "terms", 2) is None
    mine = actions.tell_of_policy(session, SETTINGS, "terms", now=now, by=BY)
    assert mine.id != other.id


def test_a_long_name_is_found_again(session: Session, now: datetime) -> None:
    slug = "-".join(["abcdefghi"] * 6)
    for number in (1, 2):
        publish(session, slug, number, now)
    told = actions.tell_of_policy(session, SETTINGS, slug, now=now, by=BY)
    assert queries.of_policy(session, slug, 2) == told
    assert actions.tell_of_policy(session, SETTINGS, slug, now=now, by=BY).id == told.id
