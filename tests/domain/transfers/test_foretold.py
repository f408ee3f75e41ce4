"""A dry run promises what the run does, also of rows that meet each other within the file."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from service.db.session import transaction
from service.domain.topics import queries as topics
from service.domain.transfers import rules
from service.kit.signing import Keyring
from service.ops import imports
from service.ops.house import House
from tests import builders as make
from tests.domain.transfers import files
from tests.domain.transfers.test_imports import states

DAY = "2024-01-02"


@pytest.fixture
def house(engine: Engine, ring: Keyring, tmp_path: Path) -> House:
    return make.a_house(engine, ring, tmp_path)


def both(house: House, content: str, **plan: Any) -> files.Tried:
    done = files.imported(house, files.job(content.encode(), files.GRANT, **plan))
    assert done.examined.counts.as_json() == done.row.counts
    return done


@pytest.mark.parametrize(
    ("words", "counts"),
    [
        (("no", "yes"), {"noes": {"no": 1}, "skipped": {"skipped_withdrawn": 1}}),
        (("blocked", "yes"), {"noes": {"stopped": 1}, "skipped": {"skipped_do_not_mail": 1}}),
        (("bounced", "yes"), {"noes": {"bounced": 1}, "skipped": {"skipped_bounced": 1}}),
        (("yes", "no"), {"new": 1, "noes": {"no": 1}, "given": {"new-products:requested": 1}}),
        (("no", "no"), {"noes": {"no": 1}, "unchanged": 1}),
        (("no", "blocked"), {"noes": {"no": 1, "stopped": 1}}),
        (("no", "yes", "no"), {"noes": {"no": 1}, "skipped": {"skipped_withdrawn": 1}, "unchanged": 1}),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_rows_about_one_mailbox(
    house: House,
    words: tuple[str, ...],
    counts: dict[str, Any],
    apart: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if apart:
        monkeypatch.setattr(imports, "AT_A_LOOK", 1)
    rows = [f"{'aA'[n % 2]}na@example.org,{DAY},{word}\n" for n, word in enumerate(words)]
    done = both(house, "email,subscribed at,status\n" + "".join(rows))
    assert {name: what for name, what in done.counts.items() if name != "left_out"} == counts


def test_one_mailbox_under_two_ids_is_two_registrations(house: House) -> None:
    content = f"email,id,subscribed at\nana@example.org,1,{DAY}\nana@example.org,2,{DAY}\n"
    assert both(house, content).counts["new"] == 2
    pressed = "email,id,subscribed at,confirmed at,ip\n" + "".join(
        f"ben@example.org,{n},{DAY},{DAY},192.0.2.1\n" for n in (3, 4)
    )
    columns = {"email": "email", "id": "external_id", "subscribed at": "agreed_at"}
    columns |= {"confirmed at": "confirmed_at", "ip": "confirmed_ip"}
    done = both(house, pressed, columns=columns, attested=True)
    assert (done.counts["new"], done.counts["changed"]) == (1, 1)


def test_one_id_with_several_mailboxes_is_one_registration(house: House) -> None:
    told = [("ana", "given", "given"), ("ben", "given", ""), ("cem", "no", ""), ("dan", "given", "no")]
    rows = [f"{name}@example.org,1,{DAY},{one},{other}\n" for name, one, other in told]
    done = both(house, "email,id,subscribed at,new-products state,updates state\n" + "".join(rows))
    assert done.counts["new"] == 1
    assert (done.counts["skipped"], done.counts["noes"]) == ({"skipped_address_differs": 1}, {"no": 2})


def test_an_attribute_of_two_kinds_far_apart(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "AT_A_LOOK", 1)
    content = f"email,subscribed at,group\nana@example.org,{DAY},7\nben@example.org,{DAY},seven\n"
    columns = {"email": "email", "subscribed at": "agreed_at", "group": "attribute:group"}
    done = both(house, content, columns=columns)
    assert (done.counts["new"], done.counts["refused"]) == (1, {"attribute_invalid": 1})


def test_who_is_only_asked_while_a_purchase_permits_has_given_nothing(house: House) -> None:
    """What the purchase permits goes on; the import's yes waits for a button, and is no yes of the import's."""
    bought = rules.Grant("new-products", "shop", text=files.WORDS, basis="implied_purchase")
    job = files.job(files.simple("ana@example.org").replace(b"2024", b"2026"), bought, attested=True)
    assert files.imported(house, job).counts["given"] == {"new-products:given": 1}
    for mail in (False, True):
        done = both(house, f"email,subscribed at\nana@example.org,{DAY}\n" + "\n" * mail, mail=mail)
        assert done.counts == {"unchanged": 1}


def test_a_no_older_than_what_stands_is_held_once_it_is_listed(house: House) -> None:
    both(house, f"email,subscribed at\nana@example.org,{DAY}\n")
    no = "email,subscribed at,unsubscribed at\nana@example.org,,2023-01-01\n"
    assert both(house, no).counts == {"noes": {"no": 1}}
    assert both(house, f"{no}\n").counts == {"unchanged": 1}


def test_std_h1_an_imported_yes_waits_also_where_a_topic_asks_for_no_button(
    house: House, ring: Keyring
) -> None:
    """A topic of single opt-in trusts a site that was there when they agreed; what a file says of the past waits (ADR 0020)."""
    trail = rules.Grant("updates", "old shop", text=files.WORDS)
    files.imported(house, files.job(files.MAILCHIMP, trail, attested=True))
    with transaction(house.engine) as session:
        topic = topics.by_slug(session, "new-products")
        topic.double_opt_in = False
    job = files.job(files.MAILCHIMP, files.GRANT)
    done = files.imported(house, job)
    assert done.counts["given"] == {"new-products:requested": 2}
    assert done.examined.counts.as_json() == done.row.counts
    assert states(house) == ["requested"]
