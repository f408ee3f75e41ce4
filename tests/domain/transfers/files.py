"""Files of people as other systems write them, and short ways to plan and run an import of them, for these tests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any

from service import fence
from service.domain.transfers import actions, rules, sources
from service.domain.transfers.tables import Import
from service.kit import clock
from service.ops import imports
from service.ops.house import House

LISTMONK = (
    b"uuid,email,name,attributes,status,created_at,updated_at\n"
    b'5f3c,ana@example.org,Ana Maria Kov,"{""plan"": ""pro"", ""city"": {""x"": 1}, ""email"": ""a@example.org""}",enabled,'
    b"2024-01-02T03:04:05Z,2024-02-02T03:04:05Z\n"
    b"5f3d,ben@example.org,Ben,{},disabled,2024-01-02T03:04:05Z,2024-02-02T03:04:05Z\n"
    b"5f3e,cem@example.org,Cem,{},blocklisted,2024-01-02T03:04:05Z,2024-02-02T03:04:05Z\n"
)
MAILCHIMP_COLUMNS = (
    '"Email Address","First Name","Last Name",MEMBER_RATING,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,LATITUDE,'
    "LONGITUDE,GMTOFF,DSTOFF,TIMEZONE,CC,REGION,LAST_CHANGED,LEID,EUID,NOTES,TAGS"
)
MAILCHIMP = (
    f"{MAILCHIMP_COLUMNS}\n"
    'ana@example.org,Ana,Kov,4,"2020-02-03 04:05:06",192.0.2.7,"2020-02-03 04:09:00",192.0.2.7,,,,,Europe/Berlin,DE,'
    'BE,"2021-01-01 00:00:00",11,e11,,"""VIP"",""Blog"""\n'
    'ben@example.org,Ben,,2,,,"2020-05-05 05:05:05",,,,,,,,,"2021-01-01 00:00:00",12,e12,,\n'
).encode()
MAILCHIMP_GONE = (
    f"{MAILCHIMP_COLUMNS.replace('NOTES', 'NOTES,UNSUB_TIME,UNSUB_CAMPAIGN_TITLE,UNSUB_REASON')}\n"
    'cem@example.org,Cem,,2,"2020-02-03 04:05:06",192.0.2.7,"2020-02-03 04:09:00",192.0.2.7,,,,,,,,,13,e13,,'
    '"2022-01-01 10:00:00",June,"N/A (Unsubscribed by admin)",\n'
    'dan@example.org,Dan,,2,"2020-02-03 04:05:06",192.0.2.7,"2020-02-03 04:09:00",192.0.2.7,,,,,,,,,14,e14,,'
    '"2022-01-01 10:00:00",June,SPAM,\n'
).encode()

WORDS = "Yes, send me news about new products."
GRANT = rules.Grant("new-products", "old shop, newsletter box", text=WORDS)
DATED = rules.Grant("new-products", "old shop, newsletter box", text=WORDS, on="2024-01-02")


def simple(*emails: str, more: Sequence[str] = ()) -> bytes:
    """A small file with a date of consent for everybody."""
    lines = [f"{email},2024-01-02" for email in emails]
    return "\n".join(["email,subscribed at", *lines, *more, ""]).encode()


@dataclass
class Tried:
    """An import run to its end."""

    row: Import
    examined: imports.Examined

    @property
    def counts(self) -> dict[str, Any]:
        """What became of the rows, empty counts left out."""
        return {name: count for name, count in self.row.counts.items() if count}


def job(content: bytes, *grants: rules.Grant, source: str = "old-shop", **plan: Any) -> imports.Job:
    """A file under a plan that maps its columns as proposed."""

    def opened() -> BytesIO:
        return BytesIO(content)

    file = imports.look_at(opened)
    columns = plan.pop("columns", None) or sources.proposed(file.columns, ["updates", "new-products"])
    made = rules.check_plan(rules.Plan(source, columns, tuple(grants), **plan), file.columns, now=clock.now())
    return imports.Job(opened, file, made)


def begun(house: House, given: imports.Job, *, rows: int = 0, by: str = "cli") -> Import:
    """The import's row, running."""

    def act(session: Any) -> Import:
        row = actions.draft(
            session, given.file, given.plan, file_name="people.csv", rows=rows, now=clock.now(), by=by
        )
        return actions.begin(session, row, now=clock.now(), by=by)

    return fence.perform_now(house, act).value


def imported(house: House, given: imports.Job, told: Callable[[int, int], None] | None = None) -> Tried:
    """Try it, then run it; both must come to the same."""
    examined = imports.dry_run(house, given, now=clock.now())
    row = begun(house, given, rows=examined.rows)
    if row.state == "running":
        row = imports.run(house, given, row, by="cli", told=told)
    return Tried(row, examined)


def later(at: datetime) -> str:
    """An instant as a file may hold it."""
    return at.isoformat()
