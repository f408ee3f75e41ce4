"""MJML with Jinja in it, compiled without harm and without a network."""

import pytest

from service.mail.letters import build_system, load
from service.mail.mjml import MjmlInvalid, compile_mjml
from service.mail.starters import starters, system_mails
from tests.mail.samples import BRAND, built, values

PAGE = (
    "<mjml><mj-head>{head}</mj-head><mj-body><mj-section><mj-column>{body}</mj-column></mj-section>"
    "</mj-body></mjml>"
)


def test_statements_stay_where_they_stand_in_a_table():
    table = "<mj-table><tbody>{% for x in items %}<tr><td>{{ x }}</td></tr>{% endfor %}</tbody></mj-table>"
    html = compile_mjml(PAGE.format(head="", body=table))
    assert (
        html.index("<tbody>{% for x in items %}<tr>")
        < html.index("{{ x }}")
        < html.index("{% endfor %}</tbody>")
    )


def test_jinja_in_attributes_and_comparisons_survives():
    body = '<mj-text><a href="{{ stop_url }}">{% if a < 3 and b > 4 %}x{% endif %}</a></mj-text>'
    html = compile_mjml(PAGE.format(head="", body=body))
    assert 'href="{{ stop_url }}"' in html
    assert "{% if a < 3 and b > 4 %}x{% endif %}" in html


def test_styles_are_inlined_and_media_queries_kept():
    style = ".md p { color: #123456; } @media (prefers-color-scheme: dark) { .md p { color: #fff; } }"
    head = f"<mj-style>{style}</mj-style>"
    html = compile_mjml(PAGE.format(head=head, body='<mj-text><div class="md"><p>x</p></div></mj-text>'))
    assert "@media (prefers-color-scheme: dark)" in html
    assert "color: #123456" in html[html.index("<p") :]


def test_nothing_is_loaded_from_elsewhere():
    head = '<mj-attributes><mj-all font-family="Roboto, Ubuntu" /></mj-attributes>'
    html = compile_mjml(PAGE.format(head=head, body="<mj-text>x</mj-text>"))
    assert "fonts.googleapis" not in html
    assert "@import" not in html
    for starter in starters():
        built_html = built(starter.slug, locale="en").html
        assert "<link" not in built_html
        assert "@import" not in built_html


def test_an_unknown_tag_is_refused_with_its_line():
    with pytest.raises(MjmlInvalid) as caught:
        compile_mjml("<mjml><mj-body>\n<mj-sektion></mj-sektion></mj-body></mjml>")
    assert "Line 2" in caught.value.detail


def test_broken_markup_and_included_files_are_refused():
    for source in ("<mjml><mj-body>", '<mjml><mj-body><mj-include path="/etc/passwd" /></mj-body></mjml>'):
        with pytest.raises(MjmlInvalid):
            compile_mjml(source)


@pytest.mark.parametrize("locale", ["en", "de"])
@pytest.mark.parametrize("slug", [starter.slug for starter in starters()])
def test_std_l1_l5_l6_every_starter_is_a_sound_document(slug, locale):
    html = load(built(slug, locale=locale)).render(values()).html
    assert f'<html lang="{locale}" dir="ltr"' in html
    assert html.index('<meta charset="utf-8">') < 1024
    assert '<meta name="color-scheme" content="light dark">' in html
    assert "prefers-color-scheme: dark" in html
    assert html.count("<title>") == 1
    assert "<script" not in html
    assert "<form" not in html
    assert "<iframe" not in html
    assert len(html) < 25_000
    for table in html.split("<table")[1:]:
        tag = table.split(">", 1)[0]
        assert 'role="presentation"' in tag or "<th" in table.split("</table>")[0]


def test_std_l1_right_to_left_languages_turn_the_page():
    html = built(locale="ar", subject="مرحبا", preheader="", body_markdown="مرحبا").html
    assert '<html lang="ar" dir="rtl"' in html


def test_the_eight_starters_and_the_system_mails_are_there():
    assert [starter.slug for starter in starters()] == [
        "action-needed",
        "digest",
        "important-notice",
        "invitation",
        "launch",
        "letter",
        "maintenance",
        "small-update",
    ]
    for name, mail in system_mails().items():
        assert set(mail.subject) == set(mail.body) == {"en", "de"}, name


@pytest.mark.parametrize("locale", ["en", "de", "fr"])
@pytest.mark.parametrize("name", sorted(system_mails()))
def test_every_system_mail_renders_from_the_values_it_names(name, locale):
    mail = build_system(name, locale=locale, brand=BRAND)
    given = {
        field: f"https://mail.example.org/{field}" if field.endswith("_url") else field
        for field in mail.fields
    }
    rendered = load(mail).render({**values(), **given})
    for field in set(system_mails()[name].fields):
        assert str({**values(), **given}[field]) in rendered.subject + rendered.text
    assert "Acme GmbH" in rendered.text


def test_a_brand_name_is_never_jinja():
    from dataclasses import replace

    brand = replace(BRAND, name='{{ 7*7 }} "A" & <b> %}')
    rendered = load(build_system("confirm", locale="en", brand=brand)).render(
        values(confirm_url="https://x.example.org", topic_names="A")
    )
    assert '{{ 7*7 }} "A" & <b> %}' in rendered.subject
    assert "49" not in rendered.subject
    assert "&lt;b&gt;" in rendered.html
