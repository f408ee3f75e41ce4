"""The notice that tells people of a policy's new version: what it says, once for each version, and nobody's consent changed."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session

from service.config import Settings
from service.domain.ledger import queries as ledger
from service.domain.notices import actions, queries, rules
from service.domain.policies import actions as policies
from service.domain.policies.rules import PolicyText, PolicyUnknown
from service.kit.signing import Keyring
from tests import builders as make

BY = "staff:s_pia"
SETTINGS = Settings(public_url="https://mail.example.org")


def amend(session: Session, now: datetime, days: int = 0, *locales: str) -> None:
    texts = {one: PolicyText(f"Privacy ({one})", f"What we do, since {now}.") for one in locales or ("en",)}
    later = now + timedelta(days=days) if days else None
    policies.publish(session, slug="privacy", texts=texts, effective_at=later, now=now, by=BY)


def test_std_j8_a_draft_in_each_language_with_the_difference_and_the_day(
    session: Session, now: datetime
) -> None:
    amend(session, now, 30, "en", "de", "fr")
    row = actions.tell_of_policy(session, SETTINGS, "privacy", now=now, by=BY)
    assert (row.state, row.mail, row.slug, row.template) == (
        "draft",
        True,
        "privacy-version-2",
        "important-notice",
    )
    assert sorted(row.content) == ["de", "en"], "in the languages we have words in"
    assert row.content["en"]["title"] == "“Privacy (en)” changes on 24 December 2026"
    assert "24. Dezember 2026" in row.content["de"]["body"]
    for locale, words in row.content.items():
        assert f"(https://mail.example.org/policies/privacy?version=2&since=1&lang={locale} " in words["body"]


def test_what_holds_at_once_says_so(session: Session, now: datetime) -> None:
    amend(session, now)
    words = actions.tell_of_policy(session, SETTINGS, "privacy", now=now, by=BY).content["en"]
    assert words["title"] == "“Privacy (en)” has changed"
    assert "from today, 24 November 2026" in words["body"]


def test_once_for_each_version(session: Session, now: datetime) -> None:
    amend(session, now)
    first = actions.tell_of_policy(session, SETTINGS, "privacy", now=now, by=BY)
    assert actions.tell_of_policy(session, SETTINGS, "privacy", now=now, by=BY).id == first.id
    actions.cancel(session, first.public_id, now=now, by=BY)
    again = actions.tell_of_policy(session, SETTINGS, "privacy", now=now, by=BY)
    assert (again.id != first.id, again.slug) == (True, "privacy-version-2-2")
    amend(session, now + timedelta(days=1))
    third = actions.tell_of_policy(session, SETTINGS, "privacy", now=now, by=BY)
    assert third.slug == "privacy-version-3"
    assert queries.of_policy(session, "privacy", 2) == again


def test_there_has_to_be_a_change(session: Session, now: datetime) -> None:
    with pytest.raises(rules.NothingAmended):
        actions.tell_of_policy(session, SETTINGS, "privacy", now=now, by=BY)
    with pytest.raises(PolicyUnknown):
        actions.tell_of_policy(session, SETTINGS, "nothing", now=now, by=BY)


def test_std_j8_no_consent_changes_by_it(session: Session, ring: Keyring, now: datetime) -> None:
    ana = make.a_person(session, ring, now=now)
    before = make.the_preference(session, ana)
    assert before is not None
    stood = before.model_dump()
    seen = len(ledger.of_subject(session, ana.public_id))
    amend(session, now)
    actions.tell_of_policy(session, SETTINGS, "privacy", now=now, by=BY)
    after = make.the_preference(session, ana)
    assert after is not None
    assert after.model_dump() == stood
    assert len(ledger.of_subject(session, ana.public_id)) == seen
