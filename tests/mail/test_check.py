"""What the composer says before a mail may go."""

from dataclasses import replace

import pytest

from service.kit.errors import NotFound
from service.mail import check
from service.mail.check import CheckFacts, Finding, blocks, examine, findings
from service.mail.colours import contrast, readable
from service.mail.letters import BrandLook, PostalAddressMissing, stored
from tests.mail.samples import BRAND, CLASSES, built


def codes(found: list[Finding], level: str | None = None) -> set[str]:
    """The codes of all findings, or of those of one level."""
    return {finding.code for finding in found if level is None or finding.level == level}


def checked(mail_class="marketing", **words: object) -> list[Finding]:
    """The findings of a mail built from these words."""
    return findings(built(mail_class=mail_class, **words), CheckFacts(mail_class, BRAND))


@pytest.mark.parametrize("mail_class", CLASSES)
def test_a_starter_as_shipped_has_nothing_against_it(mail_class):
    found = checked(mail_class)
    assert codes(found, "block") == set()
    assert codes(found, "warn") == set()


@pytest.mark.parametrize("part", ["html", "text"])
def test_rel_h24_std_b15_a_mail_without_its_stop_link_is_blocked(part):
    mail = built()
    torn = {
        "html": mail.html,
        "text": mail.text,
        part: getattr(mail, part).replace("{{ stop_url }}", "https://x.org"),
    }
    bad = stored(subject=mail.subject, preheader=mail.preheader, fields=mail.fields, **torn)
    assert "unsubscribe_missing" in codes(findings(bad, CheckFacts("marketing", BRAND)), "block")
    assert "unsubscribe_missing" not in codes(blocks(findings(bad, CheckFacts("service", BRAND))))


def test_std_l8_reason_manage_link_and_address_must_stand_in_both_parts():
    mail = built()
    for piece, code in (
        ("{{ why_line }}", "reason_missing"),
        ("{{ manage_url }}", "manage_missing"),
        ("10115 Berlin", "postal_address_missing"),
    ):
        bad = stored(subject="s", preheader="p", html=mail.html, text=mail.text.replace(piece, ""), fields=())
        assert code in codes(findings(bad, CheckFacts("marketing", BRAND)), "block")


def test_std_i2_marketing_without_a_postal_address_is_not_even_built():
    with pytest.raises(PostalAddressMissing):
        built(brand=replace(BRAND, postal_address=" "))
    mail = built(mail_class="notice", brand=replace(BRAND, postal_address=""))
    assert "postal_address_missing" in codes(findings(mail, CheckFacts("notice", BrandLook("Acme"))), "block")


def test_rel_h25_size():
    assert "message_large" in codes(checked(body_markdown="word " * 25_000), "warn")
    assert "message_too_large" in codes(checked(body_markdown="ы" * 120_000), "block")


def test_links_to_this_machine_are_blocked_unless_all_of_it_is_here():
    mail = built(body_markdown="[a](https://localhost/x) [b](https://127.0.0.1/y)")
    assert "link_localhost" in codes(findings(mail, CheckFacts("marketing", BRAND)), "block")
    assert codes(findings(mail, CheckFacts("marketing", BRAND, loopback=True)), "block") == set()


@pytest.mark.parametrize(
    "body",
    [
        "[x](https://example.org/?n={{ first_name }})",
        "[x](https://example.org/{{ company|default('none') }}/page)",
        "[x](https://example.org/?p={% if company %}1{% else %}2{% endif %})",
        "[x](https://example.org/#{{ first_name|default('there') }})",
        "[x](#{{ first_name }})",
        "[x](mailto:a@example.org?subject={{ company }})",
        "![Your kettle](https://example.org/{{ first_name }}.png)",
        '<a href="https://example.org/?n={{ last_name }}">x</a>',
        "https://example.org/?n={{ first_name }}",
        "`https://example.org/?n={{ first_name }}`",
        "Go to https://example.org/{{ company }} today",
    ],
)
def test_std_n2_no_link_carries_what_we_know_about_its_reader(body):
    assert "link_personal" in codes(checked(body_markdown=body), "block")


def test_std_n2_our_own_links_and_the_words_of_a_link_are_free():
    body = (
        "[For {{ first_name|default('you') }}](https://example.org/page)\n\n[Stop]({{ stop_url }}) "
        "{{ first_name|default('you') }}: https://example.org/a {{ company }}"
    )
    assert "link_personal" not in codes(checked(body_markdown=body))


def test_std_l2_pictures_need_words_and_sizes():
    assert {"alt_missing", "image_size_missing"} <= codes(
        checked(body_markdown="![](https://example.org/a.png)"), "warn"
    )
    assert codes(checked(body_markdown='![Board](https://example.org/a.png "520x260")'), "warn") == set()


@pytest.mark.parametrize(
    ("subject", "code"),
    [
        ("BUY THIS NOW PLEASE", "subject_shouting"),
        ("New!!", "subject_shouting"),
        ("Re: your order", "subject_reply"),
        ("AW: Ihre Frage", "subject_reply"),
        ("word " * 20, "subject_long"),
    ],
)
def test_std_f10_subjects_that_mislead(subject, code):
    assert code in codes(checked(subject=subject), "warn")


@pytest.mark.parametrize(
    ("preheader", "code"),
    [("", "preheader_missing"), ("x" * 140, "preheader_length"), ("The planner", "preheader_repeats")],
)
def test_std_l4_preview_lines(preheader, code):
    assert code in codes(checked(subject="The planner", preheader=preheader), "warn")


def test_std_l4_the_preview_line_is_the_first_text_and_hidden():
    html = built().html
    body = html[html.index("<body") :]
    assert body.index("display:none") < body.index("Your open tasks beside the week") < body.index("Acme")


def test_examine_turns_a_refusal_into_a_finding():
    words = {
        "starter": "launch", "mail_class": "marketing", "locale": "en", "subject": "News", "preheader": "",
        "body_markdown": "{{ shoe_size }}", "merge": True, "brand": BRAND,
    }  # fmt: skip
    mail, found = examine(**words)
    assert mail is None
    assert [(finding.code, finding.level) for finding in found] == [("template_unknown_name", "block")]
    mail, found = examine(**{**words, "body_markdown": "fine"})
    assert mail is not None
    assert not blocks(found)
    with pytest.raises(NotFound):
        built("launch", starter="../system")


def test_std_l3_l5_contrast_of_any_brand_colour():
    assert round(contrast("#0B6B5D", "#FFFFFF"), 1) == 6.4
    for colour in ("#FFEE00", "#FF0000", "#000000", "#FFFFFF", "#0B6B5D", "#7F7F7F"):
        assert contrast(readable(colour, "#FFFFFF"), "#FFFFFF") >= 4.5
        assert contrast(readable(colour, "#1B1F26"), "#1B1F26") >= 4.5
    pale = replace(BRAND, colour="#FFEE00")
    assert "contrast" in codes(findings(built(brand=pale), CheckFacts("marketing", pale)), "warn")


def test_the_template_lint_holds_and_sees_a_fault(monkeypatch, capsys):
    assert check.main() == 0
    assert "0 faults" in capsys.readouterr().out
    monkeypatch.setattr(check, "_LARGEST_STARTER", 10)
    assert check.main() == 1
