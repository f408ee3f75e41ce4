"""What is done with people's data, on the copy to read: in the reader's language as far as it is ours to say."""

import html
import re

from sqlmodel import Session, delete, select
from starlette.testclient import TestClient

from service.domain.brands import actions as brands
from service.domain.mailings.tables import Audience, Outcome
from service.domain.policies.tables import ProcessingProfile
from service.domain.privacy import periods
from service.kit import clock
from service.ops import profile
from tests.web.conftest import World
from tests.web.public.test_profile import signed_in


def read(client: TestClient, lang: str) -> str:
    """The section as people see it."""
    page = client.get(f"/me/copy?lang={lang}").text
    found = re.search(r'<section[^>]*id="done">(.*?)</section>', page, re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", " ", found[1])) if found else ""


def enter(session: Session) -> None:
    given = {
        "transfers": "Canada <b>100% adequate</b>",
        "authority": "The commissioner of Berlin",
        "processors": "Post GmbH",
    }
    for name, value in given.items():
        brands.set_setting(session, name, value, now=clock.now(), by="cli")


def test_std_h9_the_page_says_what_is_done_with_the_data(client: TestClient, world: World) -> None:
    world.change(enter)
    world.change(lambda session: profile.keep(session, now=clock.now()))
    signed_in(client, world)
    english, german = read(client, "en"), read(client, "de")
    for text in (english, german):
        for said in ("Canada <b>100% adequate</b>", "The commissioner of Berlin", "Post GmbH"):
            assert said in text
    for said in ("company", "take the mails in", "complaint to a supervisory authority"):
        assert said in english
    for said in ("Firma", "nehmen die Mails an", "Beschwerde bei einer Aufsichtsbehörde"):
        assert said in german
    page = client.get("/me/copy?lang=de").text
    assert "Nachrichten von der Kontaktseite, beantwortet oder erledigt</bdi>: " in page
    left = [
        word
        for word in (
            *(what for what, _ in profile.DATA), *profile.COLLECTED, *profile.WITHDRAWAL, *profile.RIGHTS,
            *periods.WHILE_KNOWN, *(one.holds for one in periods.CLASSES), "processor", "take the mails in",
        )
        if word in german or f"<bdi>{word}" in page
    ]  # fmt: skip
    assert left == [], "nothing of our own is left in English"


def test_nothing_is_said_where_nothing_was_put_down(client: TestClient, world: World) -> None:
    world.change(lambda session: session.connection().execute(delete(ProcessingProfile)))
    signed_in(client, world)
    assert "All that is held under" in client.get("/me/copy").text
    assert read(client, "en") == ""


def test_the_page_says_what_a_server_answered_and_what_each_kind_of_mail_is(
    client: TestClient, world: World
) -> None:
    signed_in(client, world)

    def answered(session: Session) -> None:
        member = session.exec(select(Audience)).one()  # the sign-in mail
        session.add(
            Outcome(
                mailing_id=member.mailing_id,
                pos=member.pos,
                attempt=1,
                state="bounced",
                code=550,
                reply="5.7.1 <b>refused</b>",
                warrant_seq=member.warrant_seq,
                at=clock.now(),
                final=True,
            )
        )

    world.change(answered)
    page, german = (html.unescape(client.get(f"/me/copy?lang={lang}").text) for lang in ("en", "de"))
    assert "The mail server answered: 550 5.7.1 &lt;b&gt;refused" in html.escape(page, quote=False)
    assert "Der Mailserver antwortete: 550" in german
    assert "New products" in page
