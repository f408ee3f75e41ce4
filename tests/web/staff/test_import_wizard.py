"""The import wizard and the export page, as staff use them."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from service.domain.people import queries as people
from service.domain.transfers import actions, queries
from service.kit import addresses, clock
from service.ops import imports
from service.ops.house import House
from tests import builders as make
from tests.domain.transfers import files
from tests.web.staff.conftest import Office

Browser = Callable[..., TestClient]
PROOF = {
    "topic": "new-products", "text:new-products": files.WORDS, "said:new-products": "old shop",
    "basis:new-products": "consent", "source": "old-shop", "dates": "iso", "status": "",
    "column:0": "email", "column:1": "agreed_at",
}  # fmt: skip


def uploaded(colleague: TestClient, content: bytes, name: str = "May") -> str:
    """The path of an import whose file was taken."""
    answer = colleague.post(
        "/staff/people/import", data={"name": name}, files={"file": ("x.csv", content, "text/csv")}
    )
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


@pytest.fixture(autouse=True)
def _background_ends(office: Office) -> Iterator[None]:
    """An import that is done still has its connection for a moment; nobody takes the database away from it."""
    yield
    for thread in threading.enumerate():
        if thread.name == "import":
            thread.join(30)


def ended(colleague: TestClient, path: str) -> str:
    """The page once the import is done."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        page = colleague.get(path).text
        if "rows are done" in page:
            return page
        time.sleep(0.05)
    raise AssertionError(page)


@pytest.mark.parametrize(
    "called", ["unsubscribed_members_7f.csv", r"C:\Users\ana\unsubscribed_members_7f.csv"]
)
def test_an_import_without_a_name_is_called_as_its_file(browser: Browser, called: str) -> None:
    """Mailchimp says in a file's name alone that everybody in it had left."""
    officer, content = browser("privacy_officer"), files.simple("ana@example.org")
    sent = {"file": (called, content, "text/csv")}
    path = officer.post("/staff/people/import", data={"name": ""}, files=sent).headers["location"]
    page = officer.get(path).text
    assert "<h1><bdi>unsubscribed_members_7f.csv</bdi></h1>" in page
    assert '<option value="no" selected' in page


def test_the_whole_way_with_a_cell_mended(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    path = uploaded(officer, files.simple("ana@", "ben@example.org"))
    assert "Nothing is imported yet" in officer.get(path).text
    tried = officer.post(f"{path}/try", data=PROOF)
    assert tried.status_code == 200, tried.text
    assert "That does not look like one e-mail address" in tried.text
    assert 'name="mend:1:email"' in tried.text
    refused = officer.post(f"{path}/run", data={})
    assert refused.status_code == 409
    assert office.world.entries("import.started") == 0
    bad = officer.post(f"{path}/bad-rows")
    assert bad.headers["content-type"].startswith("text/csv")
    assert b"ana@,2024-01-02" in bad.content
    assert office.world.entries("import.bad_rows_taken") == 1
    longer = officer.post(f"{path}/try", data={**PROOF, "mend:1:email": "ana@example.org" + " " * 600 + "x"})
    assert 'name="mend:1:email"' in longer.text
    again = officer.post(f"{path}/try", data={**PROOF, "mend:1:email": "ana@example.org"})
    assert "Cells to mend" not in again.text
    assert "New people" in again.text
    assert officer.post(f"{path}/run", data={}).status_code == 303
    page = ended(officer, path)
    assert "All 2 rows are done" in page
    assert office.world.entries("consent.requested") == 2
    assert list((office.house.settings.data_dir / "imports").glob("*")) == []


def test_the_uploaded_file_does_not_lie_in_clear(browser: Browser, office: Office) -> None:
    uploaded(browser("admin"), files.simple("ana.markova@example.org"))
    [kept] = (office.house.settings.data_dir / "imports").glob("*")
    assert b"markova" not in kept.read_bytes()
    assert kept.stat().st_mode & 0o077 == 0


def test_the_same_file_and_plan_lead_to_the_import_that_was(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    paths = []
    for _ in range(2):
        paths.append(uploaded(officer, files.simple("ana@example.org")))
        officer.post(f"{paths[-1]}/try", data=PROOF)
        went = officer.post(f"{paths[-1]}/run", data={}).headers["location"]
        assert went == paths[0]
        ended(officer, paths[0])
    assert office.world.entries("import.started") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text:new-products": ""}, "Say which words they agreed to."),
        ({"said:new-products": ""}, "Say where they agreed"),
        ({"column:1": ""}, "Say when they agreed"),
        ({"column:0": ""}, "One column must hold the e-mail address."),
        ({"source": "Old Shop"}, "A source is a short word"),
        ({"topic": "nothing", "text:nothing": "x", "said:nothing": "x"}, "There is no topic by that name."),
    ],
)
def test_a_plan_without_its_proof_is_refused_with_its_sentence(
    browser: Browser, change: dict[str, str], words: str
) -> None:
    officer = browser("privacy_officer")
    path = uploaded(officer, files.simple("ana@example.org"))
    answer = officer.post(f"{path}/try", data={**PROOF, **change})
    assert answer.status_code in (404, 422)
    assert words in answer.text
    assert "Where does the consent come from?" in answer.text


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "Please choose a file first."), (b"PK\x03\x04xxxx", "a spreadsheet or a ZIP archive")],
)
def test_what_is_no_table_is_refused_on_the_page(browser: Browser, content: bytes, words: str) -> None:
    answer = browser("admin").post("/staff/people/import", files={"file": ("x.csv", content, "text/csv")})
    assert answer.status_code == 422
    assert words in answer.text


def test_what_an_import_gave_is_taken_back_for_a_reason(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    path = uploaded(officer, files.MAILCHIMP)
    page = officer.get(path).text
    assert "This is an export of Mailchimp." in page
    plan = {**PROOF, "attested": "yes"}
    plan = {name: value for name, value in plan.items() if not name.startswith("column:")}
    for name, value in re.findall(
        r'<select id="(column:\d+)".*?<option value="([^"]*)" selected', page, flags=re.DOTALL
    ):
        plan[name] = value
    assert "Yes to new-products, given" in officer.post(f"{path}/try", data=plan).text
    officer.post(f"{path}/run", data={})
    ended(officer, path)
    assert officer.post(f"{path}/take-back", data={"reason": ""}).status_code == 422
    assert officer.post(f"{path}/take-back", data={"reason": "wrong file"}).status_code == 303
    assert "1 consent it gave is taken back" in officer.get(path).text
    state = office.world.change(
        lambda session: make.the_state(
            session, people.by_address(session, office.house.ring, addresses.parse("ana@example.org"))[0]
        )
    )
    assert state == "invalidated"


def test_std_k8_an_export_needs_its_reason(browser: Browser, office: Office) -> None:
    office.world.person("ana@example.org")
    officer = browser("privacy_officer")
    assert officer.post("/staff/people/export", data={"reason": "", "form": "csv"}).status_code == 422
    assert office.world.entries("people.exported") == 0
    answer = officer.post("/staff/people/export", data={"reason": "moving house", "form": "csv"})
    assert answer.headers["content-disposition"].startswith('attachment; filename="people-')
    assert "ana@example.org" in answer.text
    assert office.world.entries("people.exported") == 1
    assert office.world.entries("people.listed") == 1


def test_std_h12_the_export_says_who_is_left_out(browser: Browser, office: Office) -> None:
    ana = office.world.person("ana@example.org")
    office.world.person("ben@example.org")
    officer = browser("privacy_officer")
    assert "left out" not in officer.get("/staff/people/export").text
    officer.post(f"/staff/people/{ana.public_id}/restrict", data={"reason": "letter of 3 November"})
    page = officer.get("/staff/people/export").text
    assert "1 person with addresses in clear" in page
    assert "1 person who is restricted is left out" in page
    answer = officer.post("/staff/people/export", data={"reason": "moving house", "form": "csv"})
    assert ("ben@example.org" in answer.text, "ana@example.org" in answer.text) == (True, False)


def test_hostile_cells_are_shown_as_text(browser: Browser, office: Office) -> None:
    officer = browser("privacy_officer")
    content = b'email,subscribed at\n"<script>alert(1)</script>",2024-01-01\n'
    path = uploaded(officer, content, name="<b>May</b>")
    page = officer.post(f"{path}/try", data=PROOF).text
    assert "<script>alert" not in page
    assert "<b>May" not in page
    assert "&lt;script&gt;" in page


def test_mended_cells_make_it_another_import_of_the_same_file(browser: Browser, office: Office) -> None:
    """First with a row left out, then once more with that row mended: the second one is no repetition."""
    officer = browser("privacy_officer")
    for mended in ({}, {"mend:1:email": "ana@example.org"}):
        path = uploaded(officer, files.simple("ana@", "ben@example.org"))
        officer.post(f"{path}/try", data={**PROOF, **mended})
        assert officer.post(f"{path}/run", data={"leave_out_bad": "yes"}).headers["location"] == path
        ended(officer, path)
    assert office.world.entries("import.started") == 2
    assert office.world.entries("consent.requested") == 2


def test_many_consents_are_taken_back_behind_a_page_that_says_so(
    browser: Browser, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: an answer of success but 202 means that nothing departs any more."""
    from service.web.staff import imports as wizard

    officer = browser("privacy_officer")
    content = "\n".join(
        ["email,optin time,confirmed at,ip"]
        + [f"p{n}@example.org,2020-01-01,2020-01-02,192.0.2.1" for n in range(5)]
        + [""]
    ).encode()
    path = uploaded(officer, content)
    columns = {"column:1": "agreed_at", "column:2": "confirmed_at", "column:3": "confirmed_ip"}
    officer.post(f"{path}/try", data={**PROOF, **columns, "attested": "yes"})
    officer.post(f"{path}/run", data={})
    ended(officer, path)
    monkeypatch.setattr(wizard, "AT_ONCE", 4)
    answer = officer.post(f"{path}/take-back", data={"reason": "wrong file"})
    assert answer.status_code == 202
    assert "may still arrive" in answer.text
    deadline = time.monotonic() + 20
    while "5 consents it gave are taken back" not in officer.get(path).text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert office.world.entries("consent.invalidated") == 5


def test_one_that_ended_in_the_middle_can_be_taken_back_instead_of_ended(
    browser: Browser, office: Office
) -> None:
    officer = browser("privacy_officer")
    path = uploaded(officer, files.simple("ana@example.org"))

    def cut_off(session: Session) -> None:
        row = actions.begin(
            session, queries.by_public_id(session, path.rpartition("/")[2]), now=clock.now(), by="t"
        )
        row.beat_at = clock.now() - timedelta(minutes=1)

    office.world.change(cut_off)
    page = officer.get(path).text
    assert "It stands still" in page
    assert f'action="{path}/take-back"' in page
    assert officer.post(f"{path}/take-back", data={"reason": "wrong file"}).status_code == 303
    assert "0 consents it gave are taken back" in officer.get(path).text
    assert list((office.house.settings.data_dir / "imports").glob("*")) == []


def test_a_plan_changed_while_it_was_tried_is_not_run(
    browser: Browser, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    officer = browser("privacy_officer")
    path = uploaded(officer, files.simple("ana@example.org"))
    officer.post(f"{path}/try", data=PROOF)
    tried = imports.dry_run

    def meanwhile(house: House, job: imports.Job, **how: Any) -> imports.Examined:
        other = replace(job.plan, mail=True)
        public_id = path.rpartition("/")[2]
        office.world.change(lambda session: actions.revise(session, house.ring, public_id, other))
        return tried(house, job, **how)

    monkeypatch.setattr(imports, "dry_run", meanwhile)
    refused = officer.post(f"{path}/run", data={})
    assert refused.status_code == 409
    assert "try it again" in refused.text
    assert office.world.entries("import.started") == 0


def test_what_a_files_name_says_of_everybody_holds_under_whatever_name_it_is_given(browser: Browser) -> None:
    officer, content = browser("privacy_officer"), files.simple("ana@example.org", "ben@")
    sent = {"file": ("unsubscribed_members_7f.csv", content, "text/csv")}
    path = officer.post("/staff/people/import", data={"name": "May"}, files=sent).headers["location"]
    assert '<option value="no" selected' in officer.get(path).text
    path = officer.post("/staff/people/import", data={"name": ""}, files=sent).headers["location"]
    bad = officer.post(f"{path}/bad-rows")  # mended, they come back as a file of people who left
    assert 'filename="unsubscribed_members_7f-bad-rows.csv"' in bad.headers["content-disposition"]
    path = officer.post("/staff/people/import", data={"name": "May"}, files=sent).headers["location"]
    assert (
        'filename="unsubscribed-May-bad-rows.csv"'
        in officer.post(f"{path}/bad-rows").headers["content-disposition"]
    )
    path = uploaded(officer, content, name='"évil\r\n; x=1".csv')
    said = officer.post(f"{path}/bad-rows").headers["content-disposition"]
    assert re.fullmatch(r'attachment; filename="[\w.-]+-bad-rows\.csv"', said)
