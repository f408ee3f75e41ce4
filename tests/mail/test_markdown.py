"""Markdown as people write it, and as attackers do."""

import re

import pytest

from service.mail.letters import build, load
from service.mail.markdown import BodyTooLong, LinkScheme, fragment, links, to_html
from service.mail.masks import Masks, TemplateSyntax
from tests.mail.samples import BRAND, OWN_CORPUS, REAL_CORPUS, built, values

CORPUS = sorted(OWN_CORPUS.glob("*.md")) + sorted(REAL_CORPUS.glob("*.md"))


def shown(source: str, **more: object) -> str:
    """The HTML fragment of Markdown with all braces literal."""
    masks = Masks.for_texts(source)
    return fragment(masks.literal(source), masks, **more)  # type: ignore[arg-type]


def as_notice(source: str) -> tuple[str, str]:
    """HTML and text of a notice with that body, as sent."""
    mail = build(
        starter="small-update",
        mail_class="notice",
        locale="en",
        subject="News",
        preheader="",
        body_markdown=source,
        merge=False,
        brand=BRAND,
    )
    rendered = load(mail).render(values())
    return rendered.html, rendered.text


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_people_really_write_becomes_a_mail_and_a_page(path):
    source = path.read_text("utf-8")
    html, text = as_notice(source)
    page = to_html(source)
    for url in set(
        re.findall(r"https?://[^\s)>`\"'|]+", re.sub(r"```.*?```|`[^`]*`", "", source, flags=re.DOTALL))
    ):
        bare = url.rstrip(".,;:*_")
        assert bare in text, bare
        assert bare.replace("&", "&amp;") in page, bare
    for heading in re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", source, flags=re.DOTALL), re.MULTILINE):
        assert " ".join(re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).split()) in " ".join(
            text.split()
        )
    for fence in re.findall(r"^```\w*\n(.*?)^```", source, re.MULTILINE | re.DOTALL):
        for line in fence.split("\n"):
            assert line.rstrip() in text
    assert "<script" not in html
    assert re.search(r"qzjx+\d+z", html + text + page) is None
    assert len(html) < 100_000


def test_own_corpus_tables_lists_code_and_html():
    html = shown((OWN_CORPUS / "release.md").read_text("utf-8"))
    assert '<th scope="col" style="text-align:right">Now</th>' in html
    assert "<s>struck</s>" in html or "<del>struck</del>" in html
    assert "<kbd>Ctrl</kbd>" in html
    assert (
        '<img src="https://example.org/media/board.png" alt="The new board" width="520" height="260">' in html
    )
    assert 'href="mailto:help@example.org"' in html
    assert "<code>main.py</code> is no link" in html
    assert "main.py</a>" not in shown("see main.py there")


@pytest.mark.parametrize(
    "target",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "&#106;avascript:alert(1)",
        "java&#9;script:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "vbscript:x",
        "//evil.example.org",
        "https:evil",
        "https:\\\\evil",
        "/local",
        "page.html",
        "ftp://example.org",
        "\x01javascript:alert(1)",
        "https://",
    ],
)
@pytest.mark.parametrize(
    "form", ["[a](<{}>)", '<a href="{}">a</a>', "![a](<{}>)", '<img src="{}">', "[a]: <{}>\n\n[a]"]
)
def test_rel_h26_std_n6_only_https_mailto_and_tel(target, form):
    with pytest.raises(LinkScheme) as caught:
        shown(form.format(target))
    assert (caught.value.code, caught.value.field) == ("link_scheme", "body")
    assert caught.value.fix


def test_plain_http_is_for_notices_only():
    assert "http://example.org" in shown("[a](http://example.org)", allow_http=True)
    with pytest.raises(LinkScheme):
        shown("[a](http://example.org)")
    with pytest.raises(LinkScheme):
        built(body_markdown="[a](http://example.org)")


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<b onclick=alert(1)>x</b>",
        "<style>body{display:none}</style>",
        "<svg onload=alert(1)>",
        "<iframe src=https://example.org></iframe>",
        "<p style='position:fixed'>x</p>",
        "<form action=https://example.org><input></form>",
        "<img src=https://example.org/a.png onerror=alert(1)>",
        "</div></body><script>",
        "<!--[if mso]><script>x</script><![endif]-->",
        "<math><mi xlink:href=https://a.b></mi></math>",
    ],
)
def test_rel_h22_nothing_that_runs_survives(hostile):
    html = shown(f"before {hostile} after\n\n{hostile}\n")
    assert not re.search(r"<(script|style|svg|iframe|form|input|math)|\son\w+=|position", html)


def test_merge_fields_survive_in_text_links_and_statements():
    link = "[x](https://example.org/?a={{ company }}&b=1)"
    name = "**{{ first_name|default('you') }}**"
    source = "{% if plan == 'pro' %}\n\n" + f"{name} {link}" + "\n\n{% endif %}"
    masks = Masks.for_texts(source)
    html = masks.unmask(fragment(masks.merge(source), masks), str)
    assert "<strong>{{ first_name|default('you') }}</strong>" in html
    assert 'href="https://example.org/?a={{ (company)|urlencode }}&amp;b=1"' in html
    assert "<p>{%" not in html
    assert "{% if plan == 'pro' %}" in html


def test_a_merge_field_cannot_be_a_whole_link_but_our_own_urls_can():
    with pytest.raises(LinkScheme):
        built(body_markdown="[x]({{ company }})")
    assert (
        'href="{{ stop_url }}"'
        in built(body_markdown="[stop]({{ stop_url }})").html.split("foot")[0] + built().html
    )


def test_an_unclosed_field_is_refused():
    for source in ("Dear {{ first_name", "{% if x", "{{ first_name }"):
        with pytest.raises(TemplateSyntax) as caught:
            built(body_markdown=source)
        assert caught.value.field == "body"


def test_a_button_is_a_link_alone_in_its_paragraph():
    alone = shown('[See it](https://example.org "button")')
    assert 'role="presentation" class="btn"' in alone
    assert 'title="button"' not in alone
    inside = shown('Press [See it](https://example.org "button") now')
    assert "btn" not in inside
    assert 'class="btn go"' in to_html('[See it](https://example.org "button")')


def test_mentions_and_numbers_are_left_alone():
    assert "@ana and #123" in shown("Thanks @ana and #123")


def test_rel_h25_a_body_beyond_all_measure_is_refused_before_it_is_parsed():
    with pytest.raises(BodyTooLong) as caught:
        shown("x" * 500_000)
    assert caught.value.code == "message_too_large"


def test_links_reads_targets_and_descriptions():
    found = links('<a href="https://a.example.org">x</a><img src="https://b.example.org/i.png" alt="I">')
    assert [(link.url, link.image, link.alt) for link in found] == [
        ("https://a.example.org", False, None),
        ("https://b.example.org/i.png", True, "I"),
    ]


def test_a_picture_kept_here_is_named_by_its_path_and_sent_with_its_address():
    name = "/media/" + "0a" * 32 + ".png"
    html, text = as_notice(f'![The new board]({name} "520x260")')
    assert f'src="https://mail.example.org{name}" alt="The new board" width="520" height="260"' in html
    assert f"[The new board]\n(https://mail.example.org{name})" in text
    assert f'src="{name}"' in to_html(f"![The new board]({name})"), "on a page of ours it is at home"
    for other in (f"[a link]({name})", "![a](/media/x.png)", f"![a](/{name})", "![a](/staff/logout)"):
        with pytest.raises(LinkScheme):
            as_notice(other)
