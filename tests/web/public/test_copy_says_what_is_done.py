"""What is done with people's data, on the copy to read: in the reader's language as far as it is ours to say."""

import html
import re

from sqlmodel import Session, delete, select
from starlette.testclient import TestClient

from service.domain.brands import actions as brands
from service.domain.consent import jurisdictions
from service.domain.mailings.tables import FINAL, Audience, Outcome
from service.domain.policies.tables import ProcessingProfile
from service.domain.privacy import periods
from service.domain.suppressions import rules as suppressions
from service.domain.topics import rules as topics
from service.domain.transfers import rules as transfers
from service.kit import clock
from service.ops import profile
from service.web import words
from service.web.public import told
from service.web.staff import timeline
from tests.web.conftest import ONE_CLICK, World
from tests.web.public.test_profile import OURS, signed_in


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


def test_every_code_is_in_the_readers_words(client: TestClient, world: World) -> None:
    """On what it rests, what a mail came to and was for, what a stop means, the facts of a proof: in German no English."""
    person = signed_in(client, world)
    assert client.post(world.stop_link(person, "updates"), data=ONE_CLICK).status_code == 200
    assert client.post("/me/object", data={"do": "object"}, headers=OURS).is_success
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", client.get("/me/copy?lang=de").text))
    for said in (
        "(Ihre Einwilligung, Eintrag",
        "(unser Vertrag mit Ihnen, Eintrag",
        "Link zu Ihren Daten : noch nicht verschickt",
        "Seite: https://shop.example.org/join",
        "Sie haben der Werbung widersprochen alle Werbung",
    ):
        assert said in page
    assert re.search(r"Gesagt: \d+\. \w+\.? 20\d\d, \d\d:\d\d", page), "a moment as people write it"


def test_a_network_address_whose_time_is_over_is_said_to_be_gone() -> None:
    say = words.speaker("de")
    [gone] = told.proof({"ip": None, "note": None}, say)
    assert (gone["name"], gone["value"]) == ("Netzadresse", "nach Ablauf der Frist gelöscht")


def test_there_are_words_for_every_code_and_in_every_language() -> None:
    assert {*topics.BASES, *transfers.BASES, *jurisdictions.MONTHS} <= set(told.BASES)
    assert {*FINAL, "deferred", "waiting"} == set(told.MAILS)
    assert set(suppressions.CAUSES) == set(told.CAUSES)
    assert set(suppressions.SCOPES) == set(told.SCOPES)
    assert set(timeline.PURPOSES) <= set(told.PURPOSES)
    ours = (told.BASES, told.MAILS, told.CAUSES, told.SCOPES, told.PURPOSES, told.FACTS)
    for lang in set(words.languages()) - {words.ENGLISH}:
        assert [text for one in ours for text in one.values() if text not in words.catalogue(lang)] == []
