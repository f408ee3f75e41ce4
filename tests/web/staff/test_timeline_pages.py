"""A long record is read page by page: every entry and every mail once, in order, whatever shares a moment."""

import base64
import html
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlmodel import Session, col, select
from starlette.testclient import TestClient

from service.db.session import reading, transaction
from service.domain.ledger import actions as pen
from service.domain.ledger import queries as ledger
from service.domain.mailings.tables import Audience, Mailing, Outcome
from service.domain.people.tables import Person
from service.kit import clock, paging
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]

MOMENT = timedelta(minutes=10)
LINE = re.compile(r'<li(?: class="(later)")?><time datetime="([^"]+)">(.*?)</li>', re.DOTALL)


def mailed(session: Session, person: Person, n: int, states: tuple[str, ...], *, at: datetime) -> None:
    """The mail number n to somebody, and what became of each attempt; its reply names it."""
    mailing = Mailing(
        alias=10_000 + n,
        public_id=f"m_{n}",
        kind="system",
        purpose="preferences-link",
        mail_class="system",
        brand_id=1,
        state="sent",
        due_at=at,
        valid_until=at,
        created_at=at,
    )
    session.add(mailing)
    session.flush()
    session.add(
        Audience(
            mailing_id=mailing.id or 0,
            pos=1,
            address_id=n,
            person_id=person.id,
            warrant_seq=1,
            due_at=at if not states else at - MOMENT,
        )
    )
    session.flush()
    for attempt, state in enumerate(states):
        last = attempt == len(states) - 1
        session.add(
            Outcome(
                mailing_id=mailing.id or 0,
                pos=1,
                attempt=attempt,
                state=state,
                code=250,
                reply=f"mail {n}",
                warrant_seq=1,
                at=at if last else at - MOMENT,
                final=last,
            )
        )


def a_long_record(office: Office, *, moments: int = 60, mails: int = 60) -> Person:
    """Somebody of whom four entries were written at each of so many moments, with a mail sent at the very moment, at most of them."""
    ana, now = office.world.person("ana@example.org"), clock.now()
    kinds = "consent.renewed", "person.exported", "person.changed", "strange.kind"
    with transaction(office.house.engine) as session:
        for n in range(moments):
            at = now - MOMENT * (moments - n)
            for kind in kinds:
                body = {"topic": "new-products", "state": "renewed"} if kind.startswith("consent") else {}
                pen.append(session, kind, subject=ana.public_id, body=body, by="cli", now=at)
    with transaction(office.house.engine) as session:
        for n in range(mails):
            at = now - MOMENT * (moments - n)
            states = [("sent",), ("deferred", "sent"), ("deferred", "deferred", "bounced")][n % 3]
            mailed(session, ana, n, states, at=at)
    return ana


def lines(page: str) -> list[tuple[str, str, bool]]:
    """Each line by what it is of, with its moment and whether it is marked as later."""
    log = page.partition('<ol role="list" class="log">')[2].partition("</ol>")[0]
    found = []
    for later, at, rest in LINE.findall(log):
        entry, mail = re.search(r"entry=(\d+)", rest), re.search(r"<samp>\d+ (mail \d+)</samp>", rest)
        found.append((entry[1] if entry else mail[1] if mail else rest, at, bool(later)))
    return found


def leading(page: str, rel: str) -> str | None:
    """Where the link to older lines (next) or back (prev) leads."""
    found = re.search(rf'<a class="btn" href="([^"]+)" rel="{rel}">', page)
    return html.unescape(found[1]) if found else None


def turned(officer: TestClient, path: str) -> list[list[tuple[str, str, bool]]]:
    """The lines of each page, from that one on."""
    pages, following = [], path
    while following:
        page = officer.get(following).text
        pages.append(lines(page))
        following = leading(page, "next") or ""
    return pages


def of_filter(office: Office, person: Person, only: str) -> set[str]:
    """What a filter has to tell, from the tables themselves."""
    with reading(office.house.engine) as session:
        seen = ledger.of_subject(session, person.public_id)
        replies = select(Outcome.reply).join(
            Audience,
            (col(Audience.mailing_id) == col(Outcome.mailing_id)) & (col(Audience.pos) == col(Outcome.pos)),
        )
        mails = set(session.exec(replies.where(col(Audience.person_id) == person.id)))
    staff = "person.exported", "person.viewed"
    consent = "consent.renewed", "consent.given", "address.confirmed"
    entries = {
        "": seen,
        "mail": [],
        "consent": [one for one in seen if one.kind in consent],
        "staff": [one for one in seen if one.kind in staff],
        "change": [one for one in seen if one.kind not in (*consent, *staff)],
    }[only]
    return {str(one.seq) for one in entries} | (mails if only in ("", "mail") else set())


@pytest.mark.parametrize("only", ["", "consent", "change", "staff", "mail"])
def test_every_line_stands_on_one_page_and_in_order(browser: Browser, office: Office, only: str) -> None:
    ana = a_long_record(office, moments=110, mails=110)
    officer, base = browser("privacy_officer"), f"/staff/people/{ana.public_id}"
    wanted = of_filter(office, ana, only)
    pages = turned(officer, f"{base}?show={only}")
    assert [len(page) for page in pages] == [100] * (len(pages) - 1) + [len(pages[-1])]
    told = [what for page in pages for what, _, _ in page]
    assert len(told) == len(set(told)), "no line stands on two pages"
    assert set(told) == wanted, "none is lost between two"
    moments = [at for page in pages for _, at, _ in page]
    assert moments == sorted(moments, reverse=True)


def test_the_links_keep_filter_and_day_and_lead_to_the_lines(browser: Browser, office: Office) -> None:
    ana = a_long_record(office)
    officer, base = browser("privacy_officer"), f"/staff/people/{ana.public_id}"
    day = (clock.now() + timedelta(days=-2)).date().isoformat()  # before any of it, at whatever hour
    first = officer.get(f"{base}?show=&on={day}").text
    following = leading(first, "next")
    assert following is not None
    assert following.startswith(f"{base}?show=&on={day}&after=")
    assert following.endswith("#log")
    assert 'id="log"' in first
    assert "Newest first, 100 to a page." in first
    assert leading(first, "prev") is None
    second = officer.get(following).text
    assert leading(second, "prev") == f"{base}?show=&on={day}#log"
    assert "Sealed: shown" not in second


def test_the_answer_to_a_form_leads_on_in_the_page_itself(browser: Browser, office: Office) -> None:
    """A link back to where the form was sent would be of no use: nobody reads there."""
    ana = a_long_record(office)
    officer, base = browser("privacy_officer"), f"/staff/people/{ana.public_id}"
    for form in ("reveal", "object"):
        answer = officer.post(f"{base}/{form}", data={"reason": ""})
        assert answer.status_code == 422
        following = leading(answer.text, "next")
        assert following is not None
        assert following.startswith(f"{base}?after=")
        assert officer.get(following).status_code == 200


def test_a_day_long_ago_is_where_the_lines_begin(
    browser: Browser, office: Office, later: Callable[[timedelta], datetime]
) -> None:
    ana = a_long_record(office, moments=10, mails=10)
    early = clock.now().date()
    later(timedelta(days=40))
    with transaction(office.house.engine) as session:
        for n in range(130):
            at = clock.now() - timedelta(minutes=130 - n)
            pen.append(session, "person.exported", subject=ana.public_id, body={}, by="cli", now=at)
    officer, base = browser("privacy_officer"), f"/staff/people/{ana.public_id}"
    shown = officer.get(f"{base}?on={early}").text
    assert "Had said yes to New products" in shown
    by_then = lines(shown)
    assert by_then
    assert not any(marked for _, _, marked in by_then), "the lines begin at that day"
    assert leading(shown, "next") is None
    assert "These lines begin at" in shown
    link = re.search(r'<a href="([^"]+)">What came later</a>', shown)
    assert link is not None
    newest = officer.get(html.unescape(link[1])).text
    assert all(marked for _, _, marked in lines(newest))
    assert len(lines(newest)) == 100
    assert "What came later" not in newest
    assert leading(newest, "prev") == f"{base}?on={early}#log"
    pages = turned(officer, html.unescape(link[1]))
    told = [what for page in pages for what, _, _ in page]
    assert len(told) == len(set(told))
    assert {what for what, _, _ in by_then} < set(told), "from the newest on, too, that day is reached"
    before = officer.get(f"{base}?on={early - timedelta(days=400)}").text
    assert "These lines begin at" not in before
    assert len(lines(before)) == 100, "where nothing had happened by then the newest stand there, marked"
    assert all(marked for _, _, marked in lines(before))


def test_a_short_record_is_one_page_on_any_day(browser: Browser, office: Office) -> None:
    ana = office.world.person("ana@example.org")
    officer, base = browser("privacy_officer"), f"/staff/people/{ana.public_id}"
    for on in ("", "?on=2020-01-01"):
        page = officer.get(base + on).text
        assert leading(page, "next") is leading(page, "prev") is None
        assert "to a page" not in page


@pytest.mark.parametrize(
    "key",
    ["x", 7, "1.2.3.4", "1.1.3", "9" * 18 + ".1.1.1", "1.1.1.1\n", "-1.1.1.1", "٣.1.1.1"],
)
def test_a_marker_we_did_not_make_is_refused(browser: Browser, office: Office, key: str | int) -> None:
    ana = office.world.person("ana@example.org")
    officer = browser("privacy_officer")
    answer = officer.get(f"/staff/people/{ana.public_id}", params={"after": paging.encode(key)})
    assert answer.status_code == 422
    assert "That page marker was not made by us" in answer.text


@pytest.mark.parametrize("path", ["/staff/people/{}", "/changelog"])
def test_rel_h50_a_marker_nested_deeper_than_it_can_be_read_is_refused(
    browser: Browser, office: Office, path: str
) -> None:
    deep = base64.urlsafe_b64encode(b"[" * 3000).decode()
    ana = office.world.person("ana@example.org")
    answer = browser("privacy_officer").get(path.format(ana.public_id), params={"after": deep})
    assert answer.status_code == 422
    assert "That page marker was not made by us" in answer.text


@pytest.mark.parametrize("key", ["9" * 17 + ".0.999999999999999.999999999", "0.1.0.0", "0.0.0.0"])
def test_a_marker_beyond_every_line_only_finds_all_or_none(
    browser: Browser, office: Office, key: str
) -> None:
    ana = office.world.person("ana@example.org")
    officer = browser("privacy_officer")
    answer = officer.get(f"/staff/people/{ana.public_id}", params={"after": paging.encode(key)})
    assert answer.status_code == 200
    assert bool(lines(answer.text)) == key.startswith("9")


@contextmanager
def asked(engine: Engine) -> Iterator[list[str]]:
    """The statements that are run."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_many_mails_are_named_by_as_many_questions_as_few(browser: Browser, office: Office) -> None:
    """Each mail once asked the database three times what it was about."""
    ana, ben = a_long_record(office, moments=1, mails=1), office.world.person("ben@example.org")
    with transaction(office.house.engine) as session:
        for n in range(90):
            mailed(session, ben, 1_000 + n, ("sent",), at=clock.now())
    officer, counts = browser("privacy_officer"), []
    for person in (ana, ben):
        officer.get(f"/staff/people/{person.public_id}")  # whatever is asked once is asked
        with asked(office.house.engine) as found:
            assert officer.get(f"/staff/people/{person.public_id}").status_code == 200
        counts.append(len(found))
    assert counts[1] <= counts[0] + 2, counts


def test_only_the_entries_of_one_person_are_gone_through(browser: Browser, office: Office) -> None:
    """However long the ledger is: on both databases by the index of subjects, and mails by the person's."""
    ana = a_long_record(office, moments=4, mails=4)
    with transaction(office.house.engine) as session:
        for n in range(3_000):
            for kind in ("person.registered", "consent.renewed", "person.exported"):
                pen.append(session, kind, subject=f"p_{n}", body={}, by="cli", now=clock.now())
    lite = office.house.engine.dialect.name == "sqlite"
    if not lite:
        with office.house.engine.execution_options(write=True).begin() as connection:
            connection.exec_driver_sql("ANALYZE ledger_entry")
    plans: list[tuple[str, str]] = []

    def explain(_connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT") and "ledger_entry" in statement and "subject" in statement:
            plan = cursor.connection.cursor()
            plan.execute(f"EXPLAIN {'QUERY PLAN ' if lite else ''}{statement}", parameters)
            plans.append((statement, "\n".join(str(row) for row in plan.fetchall())))

    event.listen(office.house.engine, "before_cursor_execute", explain)
    try:
        officer = browser("privacy_officer")
        for query in ("", "?show=staff", "?show=change&on=2020-01-01"):
            assert officer.get(f"/staff/people/{ana.public_id}{query}").status_code == 200
    finally:
        event.remove(office.house.engine, "before_cursor_execute", explain)
    theirs = [plan for statement, plan in plans if "WHERE ledger_entry.subject" in statement]
    assert len(theirs) > 4
    for plan in theirs:
        assert "ix_ledger_entry_subject" in plan, plan
