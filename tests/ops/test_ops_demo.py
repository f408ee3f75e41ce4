"""The demo's people and staff: invented, the same every time, and made once."""

import stat
import unicodedata

from service.db.session import reading, transaction
from service.domain.staff import actions as staff
from service.domain.staff import queries as colleagues
from service.kit import addresses, clock
from service.ops import demo, demo_people
from service.ops.house import House
from tests.conftest import NOW


def test_people_are_many_alike_every_time_and_at_example_org() -> None:
    made = list(demo_people.people(NOW))
    assert made == list(demo_people.people(NOW))
    assert (
        len({one["external_id"] for one in made})
        == len({one["email"] for one in made})
        == demo_people.COUNT
        == 400
    )
    assert {addresses.parse(one["email"]).domain for one in made} == {"example.org"}
    letters = [one["profile"]["first_name"][0] for one in made]
    scripts = {unicodedata.name(letter).split()[0] for letter in letters}
    assert scripts >= {
        "LATIN",
        "CYRILLIC",
        "GREEK",
        "ARABIC",
        "HEBREW",
        "DEVANAGARI",
        "CJK",
        "GEORGIAN",
        "HANGUL",
    }
    assert len({one["locale"] for one in made}) > 20


def test_furnished_once_and_signed_in_by_link(house: House) -> None:
    for _ in range(2):
        demo.furnish(house)
    with reading(house.engine) as session:
        assert [one.role for one in colleagues.members(session)].count("admin") == 1
        assert len(colleagues.members(session)) == len(demo.STAFF)
    plan = house.settings.data_dir / "demo.json"
    assert stat.S_IMODE(plan.stat().st_mode) == 0o600
    token = demo.sign_in_link(house).rpartition("/")[2]
    with transaction(house.engine) as session:
        assert staff.sign_in_by_token(session, token, now=clock.now())
