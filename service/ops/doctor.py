"""What `bidden doctor` and the health page look at: the inside (health, key file, brand) and the outside (public address,
clock, SMTP server, DNS).

Each finding says what, why it matters, and the exact thing to do or paste.
"""

import asyncio
import stat
from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx2
from sqlalchemy.exc import SQLAlchemyError

from service.db.session import reading
from service.domain.brands import queries as brands
from service.domain.brands.tables import Brand
from service.mail import transport
from service.ops import records
from service.ops.health import Fact, readiness
from service.ops.house import House

PATIENCE = 5.0  # seconds for anything on the network
MOST_DRIFT = 30  # seconds


def examine(house: House, *, now: datetime) -> list[Fact]:
    """Look at everything. Opens network connections; never raises for what it finds."""
    return [*inside(house, now=now), *outside(house, now=now)]


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
    facts = [*_public(house, now), _smtp(house)]
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
    path = house.settings.key_file
    if not path.exists():
        return Fact(
            "key file",
            False,
            "is missing",
            "Links in old mails would not work.",
            "Bring it back from its backup.",
        )
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return Fact(
            "key file", False, "can be read by others", "It opens every address.", f"chmod 0400 {path}"
        )
    return Fact("key file", True, "is there, and private; keep a copy of it apart from the database's")


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


def _smtp(house: House) -> Fact:
    why, name = "Mail leaves there.", "captured inbox" if house.settings.practice else "SMTP server"
    try:
        server = transport.parse_smtp_url(house.settings.wire_url)
        offers = asyncio.run(_greet(server))
    except transport.BadSmtpUrl as error:
        return Fact(name, False, str(error), why, "Mend BIDDEN_SMTP_URL.")
    except transport.ConnectFailed as error:
        said = f": it said {error.reply.code} {error.reply.text}" if error.reply else ""
        fix = (
            "bidden inbox"
            if house.settings.practice
            else _SMTP_FIXES.get(error.reason, _SMTP_FIXES["unreachable"])
        )
        return Fact(name, False, f"{server.host}:{server.port} {error.reason}{said}", why, fix)
    return Fact(name, True, f"{server.host}:{server.port} answers ({offers})")


_SMTP_FIXES = {
    "unreachable": "See that BIDDEN_SMTP_URL names the right host and port, and that no firewall stands between.",
    "timeout": "See that BIDDEN_SMTP_URL names the right host and port, and that no firewall stands between.",
    "refused": "Ask whoever runs the server why it does not take mail from this machine.",
    "tls_required": "Set starttls=auto in BIDDEN_SMTP_URL only if that network is yours; else have TLS mended there.",
    "tls_failed": "Its certificate is not valid for that name; have it mended there.",
    "auth_failed": "Mend user and password in BIDDEN_SMTP_URL.",
}


async def _greet(server: transport.Server) -> str:
    wire = await asyncio.wait_for(transport.connect(server, ehlo_name="doctor.invalid"), PATIENCE)
    offers = "pipelining" if wire.facts.pipelining else "step by step: no PIPELINING"
    await wire.close()
    return offers
