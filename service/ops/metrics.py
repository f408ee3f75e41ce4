"""The metrics page: Prometheus text made by queries at the scrape, so that no process keeps counts of its own.

Labels are words of our own (states, topics); nothing in it can name a person (P6). Called by `web.ops`.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select

from service.db.session import reading
from service.domain.brands import queries as brands
from service.domain.ledger import queries as ledger
from service.domain.mailings import queries as mailings
from service.domain.mailings.tables import Mailing, Outcome
from service.domain.people.tables import Person
from service.domain.preferences.tables import Preference
from service.domain.privacy import queries as privacy
from service.domain.senders import queries as senders
from service.domain.topics.tables import Topic
from service.ops import health
from service.ops.house import House

MEDIA = "text/plain; version=0.0.4; charset=utf-8"
LATELY = timedelta(days=1)

Sample = tuple[dict[str, str], int | float]


def text(house: House, *, now: datetime) -> str:
    """Everything, in the text format 0.0.4."""
    with reading(house.engine) as session:
        waiting = health.queue(session, now)
        parts = [
            _gauge(
                "bidden_sending_on",
                "Whether sending is on.",
                _one(int(brands.setting(session, "sending_on"))),
            ),
            _gauge("bidden_senders", "Senders with a lease.", _senders(session, now)),
            _gauge("bidden_smtp_servers", "Mail servers as senders see them, by state.", _servers(session)),
            _gauge(
                "bidden_domains_paused", "Recipient domains left alone by senders.", _one(_paused(session))
            ),
            _gauge(
                "bidden_waiting",
                "People whose mail waits for a pace, by reason.",
                [({"reason": why}, people) for why, people in mailings.waits(session, now=now).items()],
            ),
            _gauge("bidden_batches_due", "Batches due and not taken.", _one(waiting.batches)),
            _gauge(
                "bidden_queue_age_seconds", "For how long the oldest of them has been due.", _one(waiting.age)
            ),
            _gauge("bidden_mailings", "Mailings by kind and state.", _mailings(session)),
            _gauge(
                "bidden_outcomes",
                "Attempts of mailings begun within a day, by outcome.",
                _outcomes(session, now),
            ),
            _gauge("bidden_people", "People by state.", _people(session)),
            _gauge("bidden_preferences", "People by topic and state of consent.", _preferences(session)),
            _gauge(
                "bidden_requests_overdue",
                "Open requests under people's rights past their day.",
                _one(privacy.request_counts(session, now.date())["overdue"]),
            ),
            _gauge(
                "bidden_breaches_late",
                "Breaches the authority has not been told of within 72 hours.",
                _one(privacy.breaches_late(session, now)),
            ),
            _counter("bidden_ledger_entries_total", "Entries of the ledger.", _one(ledger.tail(session)[0])),
        ]
    free = health.disk(house).value or 0
    parts.append(_gauge("bidden_disk_free_bytes", "Room where the data lies.", _one(free)))
    return "".join(parts)


def _one(value: float) -> list[Sample]:
    return [({}, value)]


def _senders(session: Session, now: datetime) -> list[Sample]:
    live, suspect = len(senders.live(session)), len(senders.suspect(session, now=now))
    return [({"state": "live"}, live - suspect), ({"state": "suspect"}, suspect)]


def _servers(session: Session) -> list[Sample]:
    """By the state of their breakers, whose words are closed, open and half_open."""
    states = [
        server["state"] for one in senders.live(session) for server in (one.pace or {}).get("servers", [])
    ]
    return [({"state": state}, states.count(state)) for state in ("closed", "open", "half_open")]


def _paused(session: Session) -> int:
    return sum((one.pace or {}).get("paused", 0) for one in senders.live(session))


def _mailings(session: Session) -> list[Sample]:
    counted = select(Mailing.kind, Mailing.state, func.count()).group_by(
        col(Mailing.kind), col(Mailing.state)
    )
    return [({"kind": kind, "state": state}, people) for kind, state, people in session.exec(counted)]


def _outcomes(session: Session, now: datetime) -> list[Sample]:
    """Only of recent mailings: a scrape never reads the whole history."""
    recent = select(Mailing.id).where(col(Mailing.started_at) > now - LATELY)
    counted = (
        select(Outcome.state, func.count())
        .where(col(Outcome.mailing_id).in_(recent))
        .group_by(col(Outcome.state))
    )
    return [({"state": state}, people) for state, people in session.exec(counted)]


def _people(session: Session) -> list[Sample]:
    counted = select(Person.state, func.count()).group_by(col(Person.state))
    return [({"state": state}, people) for state, people in session.exec(counted)]


def _preferences(session: Session) -> list[Sample]:
    counted = (
        select(Topic.slug, Preference.state, func.count())
        .join(Topic, col(Topic.id) == col(Preference.topic_id))
        .group_by(col(Topic.slug), col(Preference.state))
    )
    return [({"topic": slug, "state": state}, people) for slug, state, people in session.exec(counted)]


def _gauge(name: str, about: str, samples: Iterable[Sample]) -> str:
    return _metric(name, "gauge", about, samples)


def _counter(name: str, about: str, samples: Iterable[Sample]) -> str:
    return _metric(name, "counter", about, samples)


def _metric(name: str, kind: str, about: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escaped(said)}"' for label, said in labels.items())
        lines.append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")
    return "\n".join(lines) + "\n"


def _escaped(said: str) -> str:
    return said.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
