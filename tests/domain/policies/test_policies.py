"""Publishing policies and finding the version that applies."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session

from service.domain.ledger.actions import appended
from service.domain.policies import actions, queries, rules
from service.domain.policies.rules import PolicyText

TEXTS = {"en": PolicyText("Terms", "We agree."), "de": PolicyText("Bedingungen", "Wir sind uns einig.")}


def test_publish_makes_version_after_version(session: Session, now: datetime) -> None:
    first = actions.publish(session, slug="terms", texts=TEXTS, now=now, by="cli")
    second = actions.publish(
        session,
        slug="terms",
        texts={"en": PolicyText("Terms", "We still agree."), "de": None},
        now=now,
        by="cli",
    )
    assert [(text.version, text.locale) for text in (*first, *second)] == [(1, "de"), (1, "en"), (2, "en")]
    assert len({text.sha256 for text in (*first, *second)}) == 3
    assert queries.version(session, "terms", 1, "en").body == "We agree.\n"
    assert [entry.kind for entry in appended(session)] == ["policy.published"] * 2
    assert second[0].sha256 in appended(session)[1].text


def test_the_newest_version_in_effect_applies_in_the_best_language(session: Session, now: datetime) -> None:
    actions.publish(session, slug="terms", texts=TEXTS, now=now, by="cli")
    later = now + timedelta(days=30)
    actions.publish(
        session, slug="terms", texts={"en": TEXTS["en"], "de": None}, effective_at=later, now=now, by="cli"
    )
    assert (
        queries.current(session, "terms", "de-AT", now=now).version,
        queries.current(session, "terms", "de-AT", now=now).locale,
    ) == (1, "de")
    assert queries.current(session, "terms", "fr", now=now).locale == "en"
    assert (
        queries.current(session, "terms", "de", now=later).version,
        queries.current(session, "terms", "de", now=later).locale,
    ) == (2, "en")
    assert {text.title for text in queries.listed(session, "de", now=now)} >= {"Bedingungen"}


def test_a_first_version_not_yet_in_effect_is_shown(session: Session, now: datetime) -> None:
    later = now + timedelta(days=1)
    actions.publish(session, slug="terms", texts=TEXTS, effective_at=later, now=now, by="cli")
    assert queries.current(session, "terms", "en", now=now).effective_at == later


def test_a_version_is_named_by_the_form_that_showed_it(session: Session, now: datetime) -> None:
    made = actions.publish(session, slug="terms-of-use", texts=TEXTS, now=now, by="cli")
    name = queries.name_of(session, made[1])
    assert name == "terms-of-use-v1-en"
    assert queries.by_version_name(session, name) == made[1]
    assert queries.by_id(session, made[0].id or 0) == made[0]
    for wrong in ("", "terms-of-use-v2-en", "terms-of-use-v1-fr", "v1-en", "x" * 5000, "a-v1-en\n"):
        assert queries.by_version_name(session, wrong) is None


def test_unknown_policies_and_versions_are_not_found(session: Session, now: datetime) -> None:
    with pytest.raises(rules.PolicyUnknown):
        queries.current(session, "nothing", "en", now=now)
    with pytest.raises(rules.PolicyVersionUnknown):
        queries.version(session, "privacy", 9, "en")
    with pytest.raises(rules.PolicyVersionUnknown):
        queries.by_id(session, 10**9)


def test_bad_texts_are_refused(session: Session, now: datetime) -> None:
    def publish(
        slug: str = "terms", texts: dict[str, PolicyText | None] | None = None, at: datetime | None = None
    ) -> None:
        actions.publish(
            session, slug=slug, texts=TEXTS if texts is None else texts, effective_at=at, now=now, by="cli"
        )

    with pytest.raises(rules.PolicySlugInvalid):
        publish(slug="Terms/..")
    with pytest.raises(rules.LocaleInvalid):
        publish(texts={"english": TEXTS["en"]})
    with pytest.raises(rules.PolicyEmpty):
        publish(texts={"en": PolicyText("Terms", " \n")})
    with pytest.raises(rules.NoLanguageLeft):
        publish(texts={})
    with pytest.raises(rules.NoLanguageLeft):
        publish(texts={"en": None})
    with pytest.raises(rules.PolicyTooLong):
        publish(texts={"en": PolicyText("Terms", "x" * 200_001)})
    with pytest.raises(rules.EffectiveTooEarly):
        publish(at=now - timedelta(seconds=1))
    assert appended(session) == []
