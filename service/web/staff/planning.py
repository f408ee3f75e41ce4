"""An import's plan as a form shows it and as one sends it; its counts and bad cells in words."""

import re
from typing import Any

from sqlmodel import Session

from service.domain.consent import jurisdictions
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
from service.domain.transfers import rules, sources
from service.domain.transfers.reading import DELIMITERS, FileFacts
from service.domain.transfers.rows import Fault
from service.domain.transfers.tables import Import
from service.kit.errors import DomainError
from service.web import forms
from service.web.staff.frame import choice

STATES = {
    "": "Each row’s own column; without one all subscribed",
    "yes": "All of them are subscribed",
    "waits": "None of them confirmed yet",
    "no": "All of them unsubscribed",
    "bounced": "All of their mailboxes failed",
    "complained": "All of them complained",
}
BASES = {
    rules.CONSENT: "They agreed to these words",
    rules.LEGACY: "Registering meant agreeing (label only; sends nothing)",
    jurisdictions.PURCHASE: "They bought something (two years, where the law says so)",
    jurisdictions.INQUIRY: "They asked something (six months, where the law says so)",
}
DATES = {"iso": "2026-11-24", "dmy": "24.11.2026", "mdy": "11/24/2026"}
NAMES = {"new": "New people", "changed": "Changed", "unchanged": "Unchanged"}
NOES = {
    "no": "Said no there: kept as a no",
    "stopped": "Blocked there: on the do-not-mail list",
    "bounced": "Mailbox failed there: on the do-not-mail list",
    "complained": "Complained there: on the do-not-mail list",
}


def plan_of(form: forms.Form, file: FileFacts) -> rules.Plan:
    """The plan a form sends. What is wrong with it `rules.check_plan` says."""
    columns = {
        file.columns[int(place)]: role
        for place, role in form.prefixed("column:").items()
        if role and place.isdecimal() and int(place) < len(file.columns)
    }
    return rules.Plan(
        form.text("source"),
        columns,
        tuple(_grant(form, slug) for slug in form.all("topic")),
        form.text("dates", "iso"),
        form.text("attested") == "yes",
        form.text("mail") == "yes",
        form.text("status"),
    )


def _grant(form: forms.Form, slug: str) -> rules.Grant:
    """The proof for one topic: the text wins where one was typed."""
    text = form.text(f"text:{slug}")
    wording = "" if text else form.text(f"wording:{slug}")
    basis = form.text(f"basis:{slug}", rules.CONSENT)
    return rules.Grant(slug, form.text(f"said:{slug}"), wording, text, form.text(f"on:{slug}"), basis)


def mended_of(form: forms.Form) -> dict[int, dict[str, str]]:
    """Cells typed anew: fields `mend:ROW:COLUMN`; an empty one leaves the cell as it is."""
    found: dict[int, dict[str, str]] = {}
    for name, value in form.prefixed("mend:").items():
        row, _, column = name.partition(":")
        if value.strip() and re.fullmatch(r"[0-9]{1,9}", row):
            found.setdefault(int(row), {})[column] = value.strip()
    return found


def faults_of(wrong: DomainError) -> dict[str, str]:
    """An error at its field of this form: `topics.updates.text` stands at `text:updates`."""
    parts = (wrong.field or "").split(".")
    name = parts[-1]
    if parts[0] == "topics" and len(parts) == 3:
        name = f"{'said' if parts[2] == 'source' else parts[2]}:{parts[1]}"
    elif parts[0] in ("columns", "topics"):
        name = ""
    sentence = f"{wrong.detail} {wrong.fix}" if wrong.fix else wrong.detail
    return {name: sentence}


def shown(session: Session, row: Import, file: FileFacts, form: forms.Form | None) -> dict[str, Any]:
    """What the form shows: as it was sent where it is shown again, else as it is kept."""
    plan = plan_of(form, file) if form is not None else rules.plan_of(row.plan)
    active = [topic for topic in topics.active(session) if topic.mail_class != "service"]
    guessed = " The encoding is only a guess: look at names with accents." if file.guessed else ""
    sign = DELIMITERS.get(file.delimiter, "sign")
    return {
        "file": f"{len(file.columns)} columns, {file.encoding.upper()}, {sign} between cells.{guessed}",
        "system": (sources.system_of(file.columns) or "").title(),
        "columns": [
            {"name": name, "field": f"column:{place}", "options": _roles(plan.columns.get(name, ""), active)}
            for place, name in enumerate(file.columns)
        ],
        "values": _values(plan),
        "dates": _choices(DATES, plan.dates),
        "statuses": _choices(STATES, plan.status),
        "attested": plan.attested,
        "mail": plan.mail,
        "topics": [_topic(session, topic, plan) for topic in active],
    }


def _choices(words: dict[str, str], chosen: str) -> list[dict[str, Any]]:
    return [choice(value, label, value == chosen) for value, label in words.items()]


def _roles(chosen: str, active: list[Topic]) -> list[dict[str, Any]]:
    """What a column may mean, in words."""
    words = {"": "(left out)", **sources.ROLES}
    for topic in active:
        words |= {
            f"state:{topic.slug}": f"{topic.slug}: state",
            f"since:{topic.slug}": f"{topic.slug}: since when",
        }
        words |= {f"wording:{topic.slug}": f"{topic.slug}: wording"}
    if chosen.startswith("attribute:"):
        words[chosen] = f"Attribute “{chosen.partition(':')[2]}”"
    return _choices(words, chosen)


def _values(plan: rules.Plan) -> dict[str, str]:
    found = {"source": plan.source}
    for one in plan.grants:
        found |= {f"said:{one.topic}": one.said, f"text:{one.topic}": one.text, f"on:{one.topic}": one.on}
    return found


def _topic(session: Session, topic: Topic, plan: rules.Plan) -> dict[str, Any]:
    grant = next((one for one in plan.grants if one.topic == topic.slug), None)
    ours = {"": "Words of the other system (below)"}
    ours |= {one.public_id: one.public_id for one in topics.wordings(session, topic.id or 0)}
    return {
        "slug": topic.slug,
        "title": topics.wording_for(session, topic.id or 0, "en").title,
        "chosen": grant is not None,
        "wordings": _choices(ours, grant.wording if grant else ""),
        "bases": _choices(BASES, grant.basis if grant else rules.CONSENT),
    }


def counts_of(counts: rules.Counts) -> list[dict[str, Any]]:
    """What becomes of the rows, in words, nothing left out that is not nought."""
    found = [(words, getattr(counts, name)) for name, words in NAMES.items()]
    found += [(NOES[kind], count) for kind, count in sorted(counts.noes.items())]
    found += [
        (f"Left alone: {rules.SKIPPED.get(code, code)}", n) for code, n in sorted(counts.skipped.items())
    ]
    found += [(f"Cannot be taken over: {_plain(code)}", n) for code, n in sorted(counts.refused.items())]
    found += [(f"Yes to {_plain(one)}", count) for one, count in sorted(counts.given.items())]
    found += [(_left_out(one), count) for one, count in sorted(counts.left_out.items())]
    return [{"text": words, "n": count} for words, count in found if count]


def _left_out(code: str) -> str:
    kept, _, topic = code.partition(":")
    return f"Their no to {topic} here stays" if kept == "kept_no" else f"Cells not kept: {_plain(code)}"


def _plain(code: str) -> str:
    return code.replace("_", " ").replace(":", ", ")


def cells_of(faults: list[Fault]) -> list[dict[str, Any]]:
    """Bad cells, each with the name of the field that mends it; a row that is wrong as a whole has none."""
    return [
        {
            "row": one.row,
            "column": one.column or "the whole row",
            "value": one.value,
            "sentence": f"{one.sentence} {one.fix}".strip(),
            "field": f"mend:{one.row}:{one.column}" if one.column else None,
        }
        for one in faults
    ]
