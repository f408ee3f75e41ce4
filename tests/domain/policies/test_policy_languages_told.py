"""Who is told of a policy, and what is kept with a yes, goes by the reader's own language within the newest version."""

from datetime import datetime, timedelta

import pytest
from sqlmodel import Session, col, select

from service.config import Settings
from service.domain.consent.tables import Confirmation, Consent
from service.domain.ledger import actions as ledger
from service.domain.notices import actions as notices
from service.domain.policies import actions, queries, rules
from service.domain.policies.rules import PolicyText
from service.domain.policies.tables import PolicyVersion
from service.domain.preferences.intake import look_up
from service.domain.preferences.registration import Registered, Registration, register_many
from service.kit.signing import Keyring

BY = "staff:s_pia"
SETTINGS = Settings(public_url="https://mail.example.org")
EN, DE = PolicyText("Privacy", "What we do."), PolicyText("Datenschutz", "Was wir tun.")


def publish(session: Session, now: datetime, **texts: PolicyText | None) -> None:
    actions.publish(session, slug="privacy", texts=texts, now=now, by=BY)


def test_a_language_that_is_not_named_goes_along_and_none_takes_it_out(
    session: Session, now: datetime
) -> None:
    publish(session, now, en=EN, de=DE)
    publish(session, now, en=PolicyText("Privacy", "More."))
    texts = queries.newest_of(queries.versions(session, "privacy"))
    assert {locale: (one.version, one.body) for locale, one in texts.items()} == {
        "de": (3, "Was wir tun.\n"),
        "en": (3, "More.\n"),
    }
    publish(session, now, en=None)
    assert set(queries.newest_of(queries.versions(session, "privacy"))) == {"de"}
    assert '"left_out":["en"]' in ledger.appended(session)[-1].text
    with pytest.raises(rules.NoLanguageLeft):
        publish(session, now, de=None)


def test_a_form_made_before_the_newest_version_publishes_nothing(session: Session, now: datetime) -> None:
    publish(session, now, en=EN)
    with pytest.raises(rules.PublishedMeanwhile):
        actions.publish(session, slug="privacy", texts={"en": EN}, after=1, now=now, by=BY)
    actions.publish(session, slug="privacy", texts={"en": EN}, after=2, now=now, by=BY)


def test_the_notice_leads_to_the_difference_in_its_own_language(session: Session, now: datetime) -> None:
    publish(session, now, en=EN, de=None)
    publish(session, now, de=DE)
    content = notices.tell_of_policy(session, SETTINGS, "privacy", now=now, by=BY).content
    assert "privacy?version=3&since=2&lang=en " in content["en"]["body"]
    assert "privacy?version=3&since=1&lang=de " in content["de"]["body"]


def test_the_notice_leads_to_the_text_where_the_language_is_new(session: Session, now: datetime) -> None:
    terms = {"slug": "terms", "now": now, "by": BY}
    actions.publish(session, texts={"en": EN}, **terms)  # type: ignore[arg-type]
    actions.publish(session, texts={"de": DE}, **terms)  # type: ignore[arg-type]
    content = notices.tell_of_policy(session, SETTINGS, "terms", now=now, by=BY).content
    assert "terms?version=2&since=1&lang=en " in content["en"]["body"]
    assert "terms?version=2&lang=de " in content["de"]["body"]


@pytest.mark.parametrize(("locale", "named"), [("de-AT", "de"), ("en", "en"), ("fr", "en")])
def test_a_yes_by_a_site_names_the_policy_in_the_persons_language(
    session: Session, ring: Keyring, now: datetime, locale: str, named: str
) -> None:
    publish(session, now, en=EN, de=DE)
    made = {"at": now.isoformat(), "method": "own mail"}
    said = {"given": True, "source": "form", "evidence": {"at": now.isoformat()}}
    both = [{**said, "topic": "updates", "confirmed": made}, {**said, "topic": "new-products"}]
    item = Registration("1", "ana@example.org", locale, consents=both)
    more = {"topics": None, "now": now + timedelta(minutes=1), "by": "key:k"}
    [answer] = register_many(session, ring, "site", [item], attest=True, **more)  # type: ignore[arg-type]
    assert isinstance(answer, Registered)
    policies = [one.text for one in ledger.appended(session) if '"policy":"privacy-v' in one.text]
    assert len(policies) == 2
    assert all(f'"policy":"privacy-v2-{named}"' in text for text in policies)
    rows = session.exec(select(PolicyVersion).join(Consent).order_by(col(PolicyVersion.id))).all()
    assert {(row.version, row.locale) for row in rows} == {(2, named)}
    button = session.exec(select(Confirmation)).one()
    kept = session.get_one(PolicyVersion, button.topics[0]["policy"])
    assert (kept.version, kept.locale) == (2, named)


def test_a_form_names_the_text_it_showed_whatever_the_persons_language(
    session: Session, now: datetime
) -> None:
    publish(session, now, en=EN, de=DE)
    shown = queries.current(session, "privacy", "de", now=now)
    facts = look_up(session, now, policy=shown)
    assert facts.policy("en") == ("privacy-v2-de", shown.id)
