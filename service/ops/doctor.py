"""What `bidden doctor` and the health page look at: the inside (health, key file, brand) and the outside (public address,
clock, SMTP server, DNS).

Each finding says what, why it matters, and the exact thing to do or paste.
"""

import asyncio
from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx2
from sqlalchemy.exc import SQLAlchemyError

from service.db.session import reading
from service.domain.brands import queries as brands
from service.domain.brands.tables import Brand
from service.domain.people import queries as people
from service.kit import signing
from service.mail import transport
from service.ops import records
from service.ops import ring_fits as keys
from service.ops.health import SMTP_FIXES, Fact, readiness
from service.ops.house import House

PATIENCE = 5.0  # seconds for anything on the network
MOST_DRIFT = 30  # seconds


def examine(house: House, *, now: datetime) -> list[Fact]:
    """Look at everything. Opens network connections; never raises for what it finds."""
    return [*inside(house, now=now), persons(house), *outside(house, now=now)]


def inside(house: House, *, now: datetime) -> list[Fact]:
    """What can be seen without the network, in a moment: the health page shows it at every look."""
    found = readiness(house, now=now)
    facts = [*found.facts, _key_file(house)]
    if found.ready:
        with reading(house.engine) as session:
            facts.append(_postal_address(brands.default_brand(session)))
    return facts


def outside(house: House, *, now: datetime) -> list[Fact]:
    """What has to be asked for over the network, each for `PATIENCE` seconds at most."""
    facts = [*_public(house, now), *_smtp(house)]
    try:
        with reading(house.engine) as session:
            brand = brands.default_brand(session)
            keys = records.signing(session, house.ring)
    except SQLAlchemyError:
        return facts  # `inside` says what is wrong with the database
    if not house.settings.practice:
        facts += records.of(brand)
    return [*facts, *records.signatures(keys, look=not house.settings.practice)]


def _key_file(house: House) -> Fact:
    path, why = house.settings.key_file, "It opens every address, and every link in every mail."
    try:
        found = signing.load(path)
    except FileNotFoundError:
        return Fact("key file", False, "is missing", why, keys.BRING_BACK)
    except signing.KeyFileRefused as refused:
        says, _, fix = str(refused).partition(". ")
        return Fact("key file", False, says, why, fix.removeprefix("Run: "))
    try:
        with reading(house.engine) as session:
            standing = keys.standing(session, found)
    except SQLAlchemyError:
        standing = None  # `readiness` says what is wrong with the database
    if standing is not None:
        wrong = keys.RingForeign if standing == "foreign" else keys.RingOlder
        return Fact("key file", False, f"is {standing}", wrong().detail, keys.BRING_BACK)
    return Fact("key file", True, "is there, and private; keep a copy of it apart from the database's")


def persons(house: House) -> Fact:
    """Whether the ring has the master of every person's key. All of them are counted: not for the health page."""
    try:
        with reading(house.engine) as session:
            lost = people.unreadable(session, house.ring)
    except SQLAlchemyError:
        lost = {}  # `readiness` says what is wrong with the database
    if not lost:
        return Fact("keys of persons", True, "are wrapped by masters that the ring has")
    says = ", ".join(
        f"{number} by master {kid}, which the ring has not" for kid, number in sorted(lost.items())
    )
    fix = "Bring back a backup of the ring that has it: bidden ring restore FILE"
    return Fact("keys of persons", False, says, "Nobody can read these people, and they get no mail.", fix)


def _postal_address(brand: Brand) -> Fact:
    if brand.postal_address.strip():
        return Fact("postal address", True, "is set")
    fix = f'bidden brand set {brand.name} "postal_address=Name, Street 1, 12345 Town, Country"'
    return Fact(
        "postal address",
        False,
        "is missing",
        "Without it no marketing mail is made: the law wants it there.",
        fix,
    )


def _public(house: House, now: datetime) -> list[Fact]:
    """Whether readers reach us, whether a one-click stop comes through whatever stands before us, whose clock is right."""
    base = house.settings.base_url
    fix = (
        "bidden up"
        if house.settings.is_loopback
        else f"Let a proxy pass {base} on to {house.settings.listen} with its Host header, POST bodies and no redirect."
    )
    try:
        with httpx2.Client(timeout=PATIENCE, follow_redirects=False) as client:
            alive = client.get(f"{base}/livez")
            stop = client.post(f"{base}/u/doctor", data={"List-Unsubscribe": "One-Click"})
    except httpx2.HTTPError as error:
        says = f"{base} does not answer ({type(error).__name__})"
        return [Fact("public address", False, says, "Every link in every mail leads there.", fix)]
    ours = alive.status_code == 200
    through = stop.status_code in (200, 404) and "x-request-id" in stop.headers
    facts = [
        Fact(
            "public address",
            ours,
            f"{base} answers {alive.status_code}",
            "Every link in every mail leads there.",
            fix,
        ),
        Fact(
            "one-click stop",
            through,
            f"a POST is answered {stop.status_code}",
            "Mailbox providers stop people that way.",
            fix,
        ),
    ]
    return [*facts, _clock(alive, now)] if "date" in alive.headers else facts


def _clock(answer: httpx2.Response, now: datetime) -> Fact:
    drift = abs((parsedate_to_datetime(answer.headers["date"]) - now).total_seconds())
    fix = "Run a time service (chrony, systemd-timesyncd) on every machine."
    return Fact(
        "clock", drift <= MOST_DRIFT, f"differs by {drift:.0f} s", "What is due is due by the clock.", fix
    )


def _smtp(house: House) -> list[Fact]:
    """Each server that is set, in its order."""
    practice = house.settings.practice
    why, name = "Mail leaves there.", "captured inbox" if practice else "SMTP server"
    try:
        servers = transport.parse_smtp_urls(house.settings.wire_url)
    except transport.BadSmtpUrl as error:
        return [Fact(name, False, str(error), why, "Mend BIDDEN_SMTP_URL.")]
    facts = []
    for server in servers:
        try:
            says, fix = f"{server.host}:{server.port} answers ({asyncio.run(_greet(server))})", ""
        except transport.ConnectFailed as error:
            said = f": it said {error.reply.code} {error.reply.text}" if error.reply else ""
            says = f"{server.host}:{server.port} {error.reason}{said}"
            fix = "bidden inbox" if practice else SMTP_FIXES[error.reason]
        facts.append(Fact(name, not fix, says, why if fix else "", fix))
    return facts


async def _greet(server: transport.Server) -> str:
    wire = await asyncio.wait_for(transport.connect(server, ehlo_name="doctor.invalid"), PATIENCE)
    offers = "pipelining" if wire.facts.pipelining else "step by step: no PIPELINING"
    await wire.close()
    return offers
