"""Templates of people we do not know, with what they must not be able to do."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.kit.errors import DomainError
from service.mail.grammar import TemplateUnknownName, refuse_foreign
from service.mail.letters import build, load
from service.mail.render import STANDARD_FIELDS, RenderError, TemplateTooCostly, compile_html, compile_text
from tests.mail.samples import BRAND, built, values


def refusal(source: str) -> DomainError:
    """The error a template is refused with when it is saved."""
    with pytest.raises(DomainError) as caught:
        compile_html(source, STANDARD_FIELDS)
    assert caught.value.status == 422
    assert caught.value.field == "body"
    return caught.value


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ first_name.__class__ }}",
        "{{ first_name['__class__'] }}",
        "{{ first_name[company] }}",
        "{{ (first_name).format(company) }}",
        "{% for x in first_name.__dict__ %}{% endfor %}",
    ],
)
def test_rel_h16_a_walk_to_the_classes_is_refused_with_its_line(source):
    error = refusal("one\ntwo\n" + source)
    assert error.code == "template_forbidden_attribute"
    assert "Line 3" in error.detail


@pytest.mark.parametrize(
    "source",
    [
        "{{ first_name|attr('format') }}",
        "{{ '{0.__class__}'.format(first_name) }}",
        "{{ [first_name]|map('upper') }}",
    ],
)
def test_rel_h17_the_roundabout_ways_are_refused_too(source):
    assert refusal(source).code == "template_forbidden_attribute"


@pytest.mark.parametrize(
    "name",
    ["env", "config.SECRET", "request.headers", "settings['x']", "self", "lipsum()", "cycler", "namespace()"],
)
def test_rel_h18_no_name_but_the_fields(name):
    error = refusal("{{ " + name + " }}")
    assert error.code == "template_unknown_name"
    assert error.fix


def test_rel_h18_placeholders_of_other_programs_are_refused():
    with pytest.raises(TemplateUnknownName):
        refuse_foreign("the password is %db_password%", field="body")
    with pytest.raises(TemplateUnknownName):
        built(body_markdown="Hello %first_name%")
    refuse_foreign("50% off, 100% sure, https://example.org/a%20b_c%20d", field="body")


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
        "{{ 'a' * 10**9 }}",
        "{{ first_name * 1000000000 }}",
        "{{ 9**9**9 }}",
        "{{ '%0999999999d' % 1 }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ " + "1+" * 20000 + "1 }}",
        "x" * (1 << 20) + "y",
    ],
)
def test_rel_h19_what_costs_too_much_is_refused_at_once(source):
    begun = time.thread_time()  # what it costs, not how long others made it wait
    assert refusal(source).code == "template_too_costly"
    assert time.thread_time() - begun < 2
    assert compile_text("{{ first_name }}", STANDARD_FIELDS).render({"first_name": "Ana"}) == "Ana"


def test_rel_h19_a_loop_over_a_value_is_counted_when_it_is_sent():
    compiled = compile_text(
        "{% for x in company %}{% for y in company %}{% endfor %}{% endfor %}", STANDARD_FIELDS
    )
    with pytest.raises(TemplateTooCostly):
        compiled.render({"company": "x" * 1000})


@pytest.mark.parametrize(
    "source",
    [
        "{% include '../secret' %}",
        "{% import 'x' as y %}",
        "{% from 'x' import y %}",
        "{% extends '/etc/passwd' %}",
        "{% block a %}{% endblock %}",
    ],
)
def test_rel_h20_no_other_file(source):
    assert refusal(source).code == "template_no_includes"


def test_rel_h21_a_missing_value_concerns_one_person_alone():
    mail = load(built(body_markdown="Dear {{ company }}"))
    with pytest.raises(RenderError) as caught:
        mail.render(values())
    assert (caught.value.code, caught.value.field) == ("render_error", "company")
    assert "Dear Ruiz" in mail.render(values(company="Ruiz")).text


@pytest.mark.parametrize("empty", [None, "", "absent"])
def test_std_l9_an_empty_value_is_a_missing_one(empty):
    given_values = {} if empty == "absent" else {"first_name": empty}
    fallback = compile_html("Hi {{ first_name|default('there') }}", STANDARD_FIELDS)
    assert fallback.render(given_values) == "Hi there"
    asked = compile_text(
        "{% if first_name %}Dear {{ first_name }}{% else %}Hello{% endif %}", STANDARD_FIELDS
    )
    assert asked.render(given_values) == "Hello"
    for source in (
        "{{ first_name }}",
        "{{ first_name|upper }}",
        "{{ first_name ~ '!' }}",
        "{{ first_name|urlencode }}",
    ):
        with pytest.raises(RenderError):
            compile_text(source, STANDARD_FIELDS).render(given_values)


@given(st.text(max_size=80))
def test_rel_h23_values_are_data_in_text_and_escaped_in_html(value):
    text = compile_text("<{{ first_name|default('-') }}>", STANDARD_FIELDS).render({"first_name": value})
    assert text == f"<{value or '-'}>"
    html = compile_html("{{ first_name|default('-') }}", STANDARD_FIELDS).render({"first_name": value})
    assert not {"<", ">", '"', "'"} & set(html)


def test_std_t6_every_field_of_a_mail_is_escaped():
    hostile = "<b>\"'&"
    mail = built(
        subject="{{ first_name }}", preheader="{{ company }} has something new for you", fields=["plan"],
        body_markdown="# {{ first_name }}\n\n{{ plan }} [{{ company }}](https://example.org/?{{ plan }})",
    )  # fmt: skip
    assert mail.fields == ("company", "first_name", "plan")
    html = load(mail).render(values(first_name=hostile, company=hostile, plan=hostile, why_line=hostile)).html
    assert hostile not in html
    assert html.count("&lt;b&gt;&#34;&#39;&amp;") >= 6
    assert "https://example.org/?%3Cb%3E%22%27%26" in html


def test_the_same_words_make_the_same_version_and_others_another():
    assert built().sha256 == built().sha256
    assert built().sha256 != built(subject="Another").sha256
    assert load(built()) is load(built())


def test_a_notice_shows_every_brace_as_written():
    body = "Use `{{ name }}` and {% raw %} and {# this #} or {{ broken"
    mail = build(
        starter="small-update", mail_class="notice", locale="en", subject="{{ x }} is new", preheader="{% y",
        body_markdown=body, merge=False, brand=BRAND,
    )  # fmt: skip
    assert mail.fields == ()
    rendered = load(mail).render(values())
    assert rendered.subject == "{{ x }} is new"
    assert "Use {{ name }} and {% raw %} and {# this #} or {{ broken" in rendered.text
    assert "<code" in rendered.html
    assert "&#123;{ name }}" in rendered.html
