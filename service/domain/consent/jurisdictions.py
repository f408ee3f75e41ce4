"""What the law of a country lets marketing rest on, and how soon it wants requests answered, as data with its sources. Pure; read
by the gate (`preferences.rules`) and by the clocks of requests (`privacy.rules`).

A yes of the person's own permits everywhere. What stands without one (a sale, an inquiry) permits where the law says so, and
nowhere else: of somebody whose country is not known, or has no line here, the strictest rule holds. Not legal advice: lines
are dated so that they can be looked at again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from service.domain.people import rules as people

COUNTRY = people.COUNTRY  # the attribute that says where somebody lives: ISO 3166-1 alpha-2, in either case
PURCHASE, INQUIRY = "implied_purchase", "implied_inquiry"
MONTHS = {PURCHASE: 24, INQUIRY: 6}  # how long each stands (S.C. 2010 c. 23, s. 10(10))
WITHOUT_A_YES = ("soft_opt_in", *MONTHS)  # bases that depend on the country


@dataclass(frozen=True)
class Answering:
    """Within how many working days a request has to be answered, and how many further ones there are for a reason; 0: none."""

    days: int
    more: int


ANY = ""  # of `Jurisdiction.answers`: every right that has no line of its own


@dataclass(frozen=True)
class Jurisdiction:
    """One line of the table: where, what permits there without a yes, whether a mail may ask for one, and who says so; and by right
    how soon its law wants an answer, where that is sooner than the month of the GDPR."""

    name: str
    countries: frozenset[str]
    permits: frozenset[str]
    may_ask: bool  # those who never said yes, by mail, whether they would
    source: str
    looked_at: date
    answers: Mapping[str, Answering] = field(default_factory=dict)
    answers_source: str = ""


_EEA = "at be bg cy cz de dk ee es fi fr gr hr hu ie is it li lt lu lv mt nl no pt ro se si sk"
TABLE = (
    Jurisdiction(
        "European Union and EEA",
        frozenset(_EEA.split()),
        frozenset({"soft_opt_in"}),
        False,
        "Directive 2002/58/EC Art. 13(1) and (2); CJEU C-654/23",
        date(2026, 11, 29),
    ),
    Jurisdiction(
        "Poland",  # has not taken over the exception for customers
        frozenset({"pl"}),
        frozenset(),
        False,
        "Prawo komunikacji elektronicznej of 12 July 2024, Art. 398(1) and (2), 400",
        date(2026, 11, 30),
    ),
    Jurisdiction(
        "United Kingdom",
        frozenset({"gb"}),
        frozenset({"soft_opt_in"}),
        False,
        "PECR 2003 reg. 22(2) and (3)",
        date(2026, 11, 29),
    ),
    Jurisdiction(
        "United States",
        frozenset({"us"}),
        frozenset({"soft_opt_in", PURCHASE, INQUIRY}),
        True,
        "15 U.S.C. 7704(a); 16 CFR 316",
        date(2026, 11, 29),
    ),
    Jurisdiction(
        "Canada",
        frozenset({"ca"}),
        frozenset({PURCHASE, INQUIRY}),
        False,
        "S.C. 2010 c. 23, s. 1(3), 6, 10(9) and (10)",
        date(2026, 11, 29),
    ),
    Jurisdiction(
        "Russia",
        frozenset({"ru"}),
        frozenset(),
        False,
        "Federal Law 38-FZ Art. 18(1); 152-FZ Art. 15",
        date(2026, 11, 29),
        {ANY: Answering(10, 5), "rectification": Answering(7, 0)},
        "152-FZ Art. 14(3), 20(1) and (3), 21(2) and (5.1)",
    ),
)


def of(country: str) -> Jurisdiction | None:
    """The line a country falls under; None: the strictest rule holds."""
    return next((one for one in TABLE if country.strip().lower() in one.countries), None)


def quicker(right: str, countries: Collection[str]) -> dict[str, Answering]:
    """By the name of its line, how soon the law of these countries wants an answer; empty where none is quicker than the GDPR."""
    lines = [line for line in map(of, countries) if line is not None]
    found = {line.name: line.answers.get(right) or line.answers.get(ANY) for line in lines}
    return {name: one for name, one in found.items() if one is not None}


def permitted(basis: str, countries: Collection[str]) -> bool:
    """Whether this basis may carry marketing to somebody of these countries: in each of them, and never if none is known."""
    if basis not in WITHOUT_A_YES:
        return True
    return bool(countries) and all(one.strip().lower() in where(basis) for one in countries)


def where(basis: str) -> frozenset[str]:
    """The countries in which this basis may carry marketing without a yes."""
    return frozenset(country for one in TABLE if basis in one.permits for country in one.countries)


def may_ask(countries: Collection[str]) -> bool:
    """Whether somebody of these countries who never said yes may be asked by mail whether they would."""
    lines = [of(one) for one in countries]
    return bool(lines) and all(one is not None and one.may_ask for one in lines)


def ends(basis: str, at: datetime) -> datetime | None:
    """Until when what happened `at` permits on this basis: the same day that many months on, or its month's last. None: no end."""
    months = MONTHS.get(basis)
    if months is None:
        return None
    years, month = divmod(at.month - 1 + months, 12)
    year, month = at.year + years, month + 1
    last = (date(year + month // 12, month % 12 + 1, 1) - date(year, month, 1)).days
    return at.replace(year=year, month=month, day=min(at.day, last))
