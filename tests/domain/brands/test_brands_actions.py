"""Changing brands and settings, with one entry each."""

from datetime import datetime

import pytest
from sqlmodel import Session

from service.domain.brands import actions, queries, rules
from service.domain.ledger.actions import appended


def _kinds(session: Session) -> list[str]:
    return [entry.kind for entry in appended(session)]


def test_set_fields_changes_what_differs_and_notes_each(session: Session, now: datetime) -> None:
    fields = {"postal_address": "Main Street 1, Town", "from_domain": "mail.example.org", "colour": "#0B6B5D"}
    assert actions.set_fields(session, "default", fields, now=now, by="cli") == [
        "postal_address",
        "from_domain",
    ]
    assert _kinds(session) == ["brand.changed", "brand.changed"]
    assert '"after":"mail.example.org","before":"example.org"' in appended(session)[1].text
    assert actions.set_fields(session, "default", fields, now=now, by="cli") == []


def test_one_wrong_field_changes_nothing(session: Session, now: datetime) -> None:
    with pytest.raises(rules.FromDomainNotYours):
        actions.set_fields(
            session, "default", {"title": "Acme", "from_domain": "gmail.com"}, now=now, by="cli"
        )
    assert queries.default_brand(session).title != "Acme"
    assert _kinds(session) == []


def test_an_unknown_brand_is_not_found(session: Session, now: datetime) -> None:
    with pytest.raises(rules.BrandUnknown):
        actions.set_fields(session, "nobody", {"title": "Acme"}, now=now, by="cli")


def test_reply_to_and_bounce_domain_follow_the_from_domain_until_set(session: Session, now: datetime) -> None:
    brand = queries.default_brand(session)
    actions.set_fields(session, "default", {"from_domain": "mail.example.org"}, now=now, by="cli")
    assert (queries.reply_to(brand), queries.bounce_domain(brand)) == (
        "hello@mail.example.org",
        "mail.example.org",
    )
    assert queries.from_address(brand, "news") == "news@mail.example.org"
    actions.set_fields(
        session,
        "default",
        {"reply_to": "team@example.org", "bounce_domain": "b.example.org"},
        now=now,
        by="cli",
    )
    assert (queries.reply_to(brand), queries.bounce_domain(brand)) == ("team@example.org", "b.example.org")


def test_taking_sending_off_is_an_entry_that_stops_mail(session: Session, now: datetime) -> None:
    assert queries.setting(session, "sending_on") is True
    assert actions.set_setting(session, "sending_on", "off", now=now, by="cli")
    assert queries.setting(session, "sending_on") is False
    assert appended(session)[-1].kind == "settings.sending_off"
    assert appended(session)[-1].takes
    assert actions.set_setting(session, "sending_on", True, now=now, by="cli")
    assert appended(session)[-1].kind == "settings.changed"
    assert not appended(session)[-1].takes


def test_a_setting_left_as_it_was_makes_no_entry(session: Session, now: datetime) -> None:
    assert not actions.set_setting(session, "weekly_cap", "none", now=now, by="cli")
    assert _kinds(session) == []


def test_settings_come_with_their_defaults(session: Session, now: datetime) -> None:
    actions.set_setting(session, "quiet_hours", "20:00-08:00", now=now, by="cli")
    settings = queries.settings(session)
    assert settings["quiet_hours"] == {"from": "20:00", "until": "08:00"}
    assert settings["unconfirmed_days"] == 30
