"""Messages read back from their raw bytes by an independent reader."""

import email
import email.policy
import re
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.kit.errors import DomainError
from service.mail.headers import BadIdentifier, HeaderInjection, UnsubscribeUrl
from service.mail.letters import build, load
from service.mail.message import Assembler
from service.mail.render import RenderError
from tests.mail.samples import BRAND, CLASSES, TOKEN, built, facts, head_lines, header, raw, recipient, values

ONCE = (
    "Date",
    "From",
    "To",
    "Subject",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Reply-To",
    "Content-Language",
)
# Table (a) of the standards, by class: what must be there beside ONCE. All else must be absent.
ASKED = {
    "marketing": {
        "List-Id",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "List-Help",
        "List-Owner",
        "List-Post",
        "Precedence",
        "Feedback-ID",
        "X-Auto-Response-Suppress",
    },
    "notice": {
        "List-Id",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "List-Help",
        "List-Owner",
        "List-Post",
        "Precedence",
        "Feedback-ID",
        "X-Auto-Response-Suppress",
    },
    "service": {"List-Help", "Auto-Submitted", "Feedback-ID", "X-Auto-Response-Suppress"},
    "system": {"Auto-Submitted", "X-Auto-Response-Suppress"},
    "digest": {
        "List-Id",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "List-Help",
        "List-Owner",
        "List-Post",
        "Precedence",
        "Auto-Submitted",
        "Feedback-ID",
        "X-Auto-Response-Suppress",
    },
}


def parts(message: bytes) -> tuple[str, str]:
    """Text and HTML as a mail program decodes them."""
    parsed = email.message_from_bytes(message, policy=email.policy.compat32)
    assert parsed.get_content_type() == "multipart/alternative"
    assert parsed.is_multipart()
    found = parsed.get_payload()
    assert [part.get_content_type() for part in found] == ["text/plain", "text/html"]
    assert [part.get_content_charset() for part in found] == ["utf-8", "utf-8"]
    text, html = (part.get_payload(decode=True).decode("utf-8") for part in found)
    return text, html


@pytest.mark.parametrize("mail_class", CLASSES)
def test_std_a1_a11_b17_header_set_of_each_class_is_exactly_table_a(mail_class):
    names = [name for name, _ in head_lines(raw(built(mail_class=mail_class), mail_class))]
    assert len(names) == len(set(names))
    assert set(names) == {*ONCE, *ASKED[mail_class]}


def test_std_table_a_a_service_topic_that_may_be_switched_off_can_be_stopped():
    mail = built("important-notice", "service", stoppable=True)
    names = {name for name, _ in head_lines(raw(mail, "service", stoppable=True))}
    assert {"List-Id", "List-Unsubscribe", "List-Unsubscribe-Post"} <= names
    assert "Precedence" not in names


def test_std_table_a_a_triggered_notice_says_so():
    assert (
        header(raw(built(mail_class="notice"), "notice", triggered=True), "Auto-Submitted")
        == "auto-generated"
    )


@pytest.mark.parametrize("mail_class", CLASSES)
def test_std_a2_lines_end_in_crlf_and_stay_short(mail_class):
    body = "word\rother\nthird" + "x" * 5000 + " \u2028 " + "ы" * 3000 + "\n.\n..\nFrom here\n \0\x0b"
    message = raw(built(body_markdown=body, merge=False, mail_class=mail_class), mail_class)
    assert b"\0" not in message
    assert message.count(b"\r") == message.count(b"\n") == message.count(b"\r\n")
    assert max(map(len, message.split(b"\r\n"))) <= 998
    text, _ = parts(message)
    assert "x" * 5000 in text.replace("\n", "")
    assert "ы" * 3000 in text.replace("\n", "")


def test_std_a3_message_id_is_the_one_given_and_holds_no_address():
    message = raw()
    assert header(message, "Message-ID") == f"<{1:032x}@example.org>"
    assert b"ana@" not in message.split(b"\r\nMessage-ID:")[1].split(b"\r\n")[0]
    assert raw() == raw()


def test_std_a5_idn_domains_go_out_as_a_labels():
    message = (
        Assembler(facts(list_domain="пример.рф"), load(built())).assemble(recipient("user@пример.рф")).data
    )
    assert header(message, "To") == "user@xn--e1afmkfd.xn--p1ai"
    assert header(message, "List-Id") == "New products <new-products.lists.xn--e1afmkfd.xn--p1ai>"


@pytest.mark.parametrize("mail_class", CLASSES)
def test_std_a7_text_first_and_every_url_of_the_html_in_it(mail_class):
    text, html = parts(raw(built(mail_class=mail_class), mail_class))
    hrefs = {unescape(url) for url in re.findall(r'href="([^"#][^"]*)"', html)}
    assert hrefs
    assert {url for url in hrefs if url not in text} == set()


def test_std_a7_boundary_is_short_and_stands_in_no_part():
    first = raw()
    boundary = re.search(rb'boundary="([^"]+)"', first).group(1)
    assert len(boundary) <= 70
    assert first.count(boundary) == 4
    hostile = raw(built(body_markdown=f"a {boundary.decode()} b\n\n    --{boundary.decode()}--", merge=False))
    other = re.search(rb'boundary="([^"]+)"', hostile).group(1)
    assert other != boundary
    assert hostile.count(b"--" + other) == 3
    assert f"--{boundary.decode()}--" in parts(hostile)[0]


def test_a_mail_says_whether_a_line_of_it_begins_with_a_dot():
    plain, dotted = load(built()), load(built(body_markdown="    code\n    .\n"))
    said = [Assembler(facts(), mail).assemble(recipient()) for mail in (plain, dotted)]
    assert [made.dotted for made in said] == [False, True]
    assert [b"\r\n." in made.data for made in said] == [False, True]
    named = load(built(body_markdown="{{ company|default('You') }}"))
    person = recipient(values=values(company=".hidden"))
    made = Assembler(facts(), named).assemble(person)
    assert made.dotted
    assert b"\r\n.hidden" in made.data


def test_std_a8_only_ascii_on_the_wire_and_trailing_space_survives():
    message = raw(built(body_markdown="Ünïcödé 👨‍👩‍👧 日本語\n\n    code \n    .", merge=False))
    assert message.isascii()
    text, html = parts(message)
    assert "Ünïcödé 👨‍👩‍👧 日本語" in text
    assert "Ünïcödé 👨‍👩‍👧 日本語" in unescape(html)
    assert "\n-- \n" in text.replace("\r\n", "\n")


def test_std_a10_one_recipient_and_nobody_else():
    message = raw()
    assert header(message, "To") == "ana@example.org"
    assert header(message, "Cc") is None
    assert header(message, "Bcc") is None


def test_std_b1_b2_b12_one_click_pair_and_grammar():
    assembler = Assembler(facts(), load(built()))
    message = assembler.assemble(recipient(mailto_unsubscribe=f"mailto:stop+{TOKEN}@example.org")).data
    value = header(message, "List-Unsubscribe")
    assert re.fullmatch(r"<https://[!-;=?-~]+>, ?<mailto:[!-;=?-~]+>", value)
    assert value.count("https:") == 1
    assert "http:" not in value
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in message


def test_std_b1_http_only_towards_this_machine():
    mail = load(built())
    local = recipient(unsubscribe_url=f"http://127.0.0.1:8000/u/{TOKEN}")
    assert header(Assembler(facts(loopback=True), mail).assemble(local).data, "List-Unsubscribe").startswith(
        "<http://127"
    )
    with pytest.raises(UnsubscribeUrl):
        Assembler(facts(), mail).assemble(local)
    for url in (
        "http://example.org/u/x",
        "https://example.org/u/a,b",
        "https://example.org/ x",
        None,
        "https://x/\r\nBcc: a",
    ):
        with pytest.raises(UnsubscribeUrl):
            Assembler(facts(loopback=True), mail).assemble(recipient(unsubscribe_url=url))


def test_std_b13_list_id_is_of_the_topic_alone():
    first, second = raw(campaign="one"), raw(campaign="two")
    assert (
        header(first, "List-Id")
        == header(second, "List-Id")
        == "New products <new-products.lists.example.org>"
    )
    assert header(raw(topic="updates"), "List-Id") != header(first, "List-Id")
    long = head_lines(raw(topic_name="Neuigkeiten über " + "ü" * 300))
    assert all(len(value) <= 255 for name, value in long if name == "List-Id")


def test_std_f9_feedback_id():
    value = header(raw(), "Feedback-ID")
    assert re.fullmatch(r"[\w.-]+:[\w.-]+:[\w.-]+:[\w.-]{5,15}", value)
    assert len(set(value.split(":"))) == 4
    other = Assembler(facts(), load(built())).assemble(recipient("bob@example.org", 2)).data
    assert header(other, "Feedback-ID") == value
    assert TOKEN not in value
    with pytest.raises(BadIdentifier):
        raw(campaign="a:b")


def test_std_t1_structured_headers_are_never_encoded_nor_folded_inside_a_url():
    host = "a-very-long-host-name-" * 2 + "x.mail.example.org"
    url = f"https://{host}/u/{TOKEN}"
    assembler = Assembler(facts(help_url=f"https://{host}/contact"), load(built()))
    message = assembler.assemble(
        recipient(unsubscribe_url=url, mailto_unsubscribe=f"mailto:s+{TOKEN * 2}@{host}")
    ).data
    for name in (
        "List-Unsubscribe",
        "List-Help",
        "List-Id",
        "Message-ID",
        "Feedback-ID",
        "List-Unsubscribe-Post",
    ):
        assert "=?" not in header(message, name)
    assert f"<{url}>".encode() in message
    assert max(map(len, message.split(b"\r\n\r\n")[0].split(b"\r\n"))) <= 998


NASTY = st.text(
    alphabet=st.one_of(
        st.sampled_from("\r\n\0\x0b\x0c\x85\u2028\u2029\u202e:=?<>\"'&{}%# \t.-"), st.characters()
    ),
    max_size=60,
)
PIECES = st.lists(
    st.one_of(
        NASTY,
        st.sampled_from(["\r\nBcc: x@y", "=?utf-8?q?a=0D=0ABcc=3A_x=40y?=", "\r\n\r\n", "\n.\n", "--=_"]),
    ),
    max_size=4,
).map("".join)
MAIL = load(
    built(
        subject="Hello {{ first_name|default('you') }}",
        body_markdown="Dear {{ first_name|default('you') }}, [x](https://x.org/?{{ company|default('-') }})",
    )
)
BENIGN = Assembler(facts(), MAIL).assemble(recipient()).data


@given(first_name=PIECES, company=PIECES)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_std_t2_no_value_changes_the_headers_or_where_the_body_begins(first_name, company):
    person = recipient(values=values(first_name=first_name, company=company))
    try:
        message = Assembler(facts(), MAIL).assemble(person).data
    except (HeaderInjection, RenderError):
        return
    assert [name for name, _ in head_lines(message)] == [name for name, _ in head_lines(BENIGN)]
    assert message.isascii()
    assert message.count(b"\r") == message.count(b"\n") == message.count(b"\r\n")
    parsed = email.message_from_bytes(message, policy=email.policy.compat32)
    assert parsed.keys() == email.message_from_bytes(BENIGN, policy=email.policy.compat32).keys()
    assert parsed.defects == []
    assert len(parsed.get_payload()) == 2
    parts(message)


@pytest.mark.parametrize(
    "hostile", ["Ana\nBcc: x@example.org", "A\r\n\r\nbody", "=?utf-8?q?a=0D=0ABcc=3A_x=40y?=", "a\u2028b"]
)
def test_rel_h05_a_value_that_reaches_a_header_stops_that_one_mail(hostile):
    assembler = Assembler(facts(), load(built()))
    with pytest.raises(HeaderInjection) as caught:
        assembler.assemble(recipient(values=values(first_name=hostile)))
    assert caught.value.code == "header_injection"
    assert assembler.assemble(recipient("bob@example.org", 2)).data.startswith(b"Date: ")


@pytest.mark.parametrize(
    "field", ["from_name", "topic_name", "topic", "reply_to", "locale", "help_url", "campaign"]
)
def test_std_t2_no_fact_of_a_mailing_can_hold_a_header(field):
    for hostile in (
        "x\r\nBcc: a@example.org",
        "x\nBcc: a@example.org",
        "=?utf-8?q?a=0D=0ABcc=3A_x=40y?=",
        "x\0",
    ):
        with pytest.raises(DomainError):
            Assembler(facts(**{field: hostile}), load(built()))


@pytest.mark.parametrize(
    "hostile",
    ["a@b.example\r\nBcc: x@y.example", "a@x>, <b@y.example", "a b@example.org", "a@b@c\n.example", "@"],
)
def test_std_t2_a10_no_address_can_hold_two(hostile):
    with pytest.raises(DomainError):
        Assembler(facts(), load(built())).assemble(recipient(hostile))


def test_rel_h13_dots_long_lines_and_bare_breaks_arrive_as_written():
    lines = [".", "..", "x" * 5000, "end"]
    mail = build(
        starter="letter",
        mail_class="notice",
        locale="en",
        subject="S",
        preheader="",
        merge=False,
        brand=BRAND,
        body_markdown="```\n" + "\n".join(lines) + "\rbare\n```",
    )
    text, html = parts(Assembler(facts("notice"), load(mail)).assemble(recipient()).data)
    wanted = "".join(f"    {line}\n" for line in [*lines, "bare"])
    assert wanted in text.replace("\r\n", "\n")
    assert "\n".join([*lines, "bare"]) in html.replace("\r\n", "\n")


def test_rel_h14_a_body_that_ends_the_data_is_one_message():
    message = raw(
        built(body_markdown="one\r\n.\r\nMAIL FROM:<x@example.org>\r\n\r\nFrom: a@b\n", merge=False)
    )
    assert [name for name, _ in head_lines(message)] == [name for name, _ in head_lines(raw())]
    assert "MAIL FROM:" in parts(message)[0]


class _Titles(HTMLParser):
    """Counts elements, to see whether a value became one."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>", "{{7*7}}", "{% raw %}", "</title><script>", "<b>\"'&"]
)
def test_rel_h23_a_hostile_name_is_shown_as_written(name):
    text, html = parts(
        Assembler(facts(), load(built())).assemble(recipient(values=values(first_name=name))).data
    )
    assert f"{name}, plan a week" in text
    assert f"{name}, plan a week" in unescape(re.sub(r"<[^>]*>", "", html[html.index("<h1") :]))
    reader = _Titles()
    reader.feed(html)
    benign = _Titles()
    benign.feed(parts(raw())[1])
    assert reader.tags == benign.tags


def test_sign_is_the_last_step_and_sees_the_final_bytes():
    seen: list[bytes] = []

    def sign(message: bytes) -> bytes:
        seen.append(message)
        return b"X-Signed: yes\r\n" + message

    message = Assembler(facts(), load(built()), sign=sign).assemble(recipient()).data
    assert message == b"X-Signed: yes\r\n" + seen[0]
    assert seen[0] == raw()
