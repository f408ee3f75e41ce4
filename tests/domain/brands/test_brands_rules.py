"""What brands and settings may hold."""

import pytest

from service.domain.brands import rules
from service.kit.addresses import AddressSyntax
from service.kit.errors import Invalid


@pytest.mark.parametrize(
    "domain",
    [
        "gmail.com",
        "GoogleMail.com",
        "yahoo.co.uk",
        "yahoo.com.br",
        "outlook.de",
        "hotmail.com",
        "mail.ru",
        "yandex.ru",
        "x.gmail.com",
        "gmx.net",
    ],
)
def test_std_f2_a_mailbox_providers_domain_is_refused(domain: str) -> None:
    with pytest.raises(rules.FromDomainNotYours) as refused:
        rules.check_field("from_domain", domain)
    assert refused.value.field == "from_domain"


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("Example.ORG", "example.org"),
        ("пример.рф", "xn--e1afmkfd.xn--p1ai"),
        ("live.example.org", "live.example.org"),
        ("yahoo.example.co.uk", "yahoo.example.co.uk"),
    ],
)
def test_std_f2_a_domain_of_ones_own_is_taken(typed: str, stored: str) -> None:
    assert rules.check_field("from_domain", typed) == stored


@pytest.mark.parametrize("domain", ["localhost", "example", "[127.0.0.1]", "a b.org", "-x.org", "x..org"])
def test_a_name_that_is_no_public_domain_is_refused(domain: str) -> None:
    with pytest.raises(rules.DomainInvalid):
        rules.check_field("bounce_domain", domain)


@pytest.mark.parametrize(
    "local", ["no-reply", "NoReply", "donotreply", "do-not-reply", "never_reply", "noreply2"]
)
def test_std_f10_no_reply_needs_a_monitored_reply_to(local: str) -> None:
    with pytest.raises(rules.ReplyToNotMonitored):
        rules.check_field("reply_to", f"{local}@example.org")
    with pytest.raises(rules.ReplyToNotMonitored):
        rules.check_mailbox(local, reply_to="")
    assert rules.check_mailbox(local, reply_to="hello@example.org") == local.lower()


@pytest.mark.parametrize("mailbox", ["", "a b", "news@", ".news", "a..b", "ne\nws", "x" * 65])
def test_a_mailbox_is_one_plain_word(mailbox: str) -> None:
    with pytest.raises(AddressSyntax):
        rules.check_mailbox(mailbox, reply_to="")


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "http://example.org",
        "https://",
        "https://a:b@x.org",
        "//x.org",
        'https://x.org/"',
    ],
)
def test_an_unsafe_web_address_is_refused(url: str) -> None:
    with pytest.raises(rules.UrlInvalid):
        rules.check_field("public_url", url)


def test_http_is_taken_on_this_machine_itself() -> None:
    assert (
        rules.check_field("logo_url", "http://127.0.0.1:8000/media/x.png")
        == "http://127.0.0.1:8000/media/x.png"
    )


def test_a_colour_must_carry_white_text() -> None:
    assert rules.check_field("colour", "#0b6b5d") == "#0B6B5D"
    with pytest.raises(rules.ColourContrast):
        rules.check_field("colour", "#FFEE00")
    with pytest.raises(Invalid):
        rules.check_field("colour", "red")


def test_a_postal_address_may_have_lines_and_a_title_may_not() -> None:
    assert rules.check_field("postal_address", "Main Street 1\r\nTown") == "Main Street 1\nTown"
    with pytest.raises(Invalid):
        rules.check_field("title", "Acme\nBcc: x@example.org")
    with pytest.raises(rules.TextMissing):
        rules.check_field("title", "  ")
    with pytest.raises(rules.TextTooLong):
        rules.check_field("title", "x" * 121)


def test_an_optional_field_may_be_emptied() -> None:
    assert rules.check_field("reply_to", " ") == ""


@pytest.mark.parametrize(
    ("name", "given", "stored"),
    [
        ("sending_on", "off", False),
        ("sending_on", True, True),
        ("two_person_approval", "on", True),
        ("weekly_cap", "2", 2),
        ("weekly_cap", "", None),
        ("weekly_cap", None, None),
        ("quiet_hours", "20:00-08:00", {"from": "20:00", "until": "08:00"}),
        ("quiet_hours", {"from": "20:00", "until": "08:00"}, {"from": "20:00", "until": "08:00"}),
        ("ip_evidence", "none", "none"),
        ("unconfirmed_days", 365, 365),
        ("domain_limits", "", None),
        (
            "domain_limits",
            "gmail.com per_hour=2000 connections=4\nYahoo.com connections=1",
            {"gmail.com": {"per_hour": 2000, "connections": 4}, "yahoo.com": {"connections": 1}},
        ),
        ("domain_limits", {"gmail.com": {"per_hour": 1}}, {"gmail.com": {"per_hour": 1}}),
        ("warm_up", None, None),
        ("warm_up", "2026-12-01: 200 400", {"from": "2026-12-01", "amounts": [200, 400]}),
    ],
)
def test_a_setting_is_read_from_json_and_from_text(name: str, given: object, stored: object) -> None:
    assert rules.check_setting(name, given) == stored


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("sending_on", "perhaps"),
        ("sending_on", 1),
        ("sending_on", []),
        ("weekly_cap", 0),
        ("weekly_cap", 51),
        ("weekly_cap", True),
        ("weekly_cap", "2.5"),
        ("quiet_hours", "20:00"),
        ("quiet_hours", "20:00-20:00"),
        ("quiet_hours", {"from": "25:00", "until": "08:00"}),
        ("quiet_hours", {"from": 20, "until": 8}),
        ("ip_evidence", "all"),
        ("unconfirmed_days", None),
        ("domain_limits", "gmail.com"),
        ("domain_limits", "gmail.com per_day=3"),
        ("domain_limits", "gmail.com per_hour=0"),
        ("domain_limits", "gmail per_hour=5"),
        ("domain_limits", {"gmail.com": {}}),
        ("domain_limits", ["gmail.com"]),
        ("warm_up", "2026-13-01: 200"),
        ("warm_up", "2026-12-01:"),
        ("warm_up", "2026-12-01: 200 -4"),
        ("warm_up", {"from": "2026-12-01", "amounts": [True]}),
        ("warm_up", {"from": "2026-12-01"}),
    ],
)
def test_a_wrong_setting_is_refused_by_name(name: str, given: object) -> None:
    with pytest.raises(rules.SettingInvalid) as refused:
        rules.check_setting(name, given)
    assert refused.value.field == name


def test_unknown_names_are_refused() -> None:
    for check in (lambda: rules.check_field("colour2", "x"), lambda: rules.check_setting("debug", "on")):
        with pytest.raises(rules.UnknownField) as refused:
            check()
        assert refused.value.code == "unknown_field"


def test_the_defaults_do_not_depend_on_the_hour_or_the_number_of_colleagues() -> None:
    assert {name: kind.default for name, kind in rules.SETTINGS.items()} == {
        "sending_on": True,
        "two_person_approval": False,
        "quiet_hours": None,
        "weekly_cap": None,
        "domain_limits": None,
        "warm_up": None,
        "ip_evidence": "truncated",
        "data_protection_officer": "",
        "processors": "",
        "transfers": "",
        "places": "",
        "authority": "",
        "unconfirmed_days": 30,
        "requests_days": 1095,
        "ip_days": 365,
    }
