"""Writing imports: begin one, take over its rows chunk by chunk, end it, take back what it gave; and noting an export.

Each function is one transaction's work; `ops.imports` opens the transactions, rests between them and goes on after a crash.
A chunk names the row it begins at, so that no row is ever taken over twice.
"""

import json
from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from service.db.locks import lock_ledger_tail
from service.domain.consent.actions import Said
from service.domain.consent.rules import PERMITTING
from service.domain.ledger import actions as ledger
from service.domain.people.tables import Person
from service.domain.preferences.changes import Change, move
from service.domain.preferences.intake import Facts, Transfer, look_up
from service.domain.preferences.registration import Registered, register_many
from service.domain.preferences.rules import CONSENTED
from service.domain.preferences.tables import Preference
from service.domain.topics import queries as topics
from service.domain.transfers import noes, queries, rules
from service.domain.transfers.judging import Verdict, apart, judge
from service.domain.transfers.preparing import Prepared
from service.domain.transfers.reading import FileFacts
from service.domain.transfers.rows import Fault
from service.domain.transfers.tables import Import, ImportChunk
from service.kit import sealing
from service.kit.errors import DomainError
from service.kit.ids import new_id
from service.kit.signing import Keyring

BATCH = 200  # rows or people of one transaction, at most (design.md 3)


def draft(
    session: Session, file: FileFacts, plan: rules.Plan, *, file_name: str, rows: int, now: datetime, by: str
) -> Import:
    """Keep what was decided about a file. Nothing is imported yet, so nothing is written into the ledger."""
    row = Import(
        public_id=new_id("i"),
        state="draft",
        file_name=file_name[:120],
        file_sha256=file.sha256,
        octets=file.octets,
        plan=plan.as_json(),
        plan_sha256=plan.digest,
        rows_total=rows,
        counts=rules.Counts().as_json(),
        created_at=now,
        created_by=by,
    )
    session.add(row)
    session.flush()
    return row


def revise(session: Session, ring: Keyring, public_id: str, plan: rules.Plan) -> Import:
    """Another plan for a file that was not run yet; mended cells are part of what an import is. Raises `ImportMoved`."""
    row = _drafted(session, public_id)
    mended = queries.mended(ring, row)
    told = json.dumps([plan.digest, sorted(mended.items())], sort_keys=True)
    row.plan = plan.as_json()
    row.plan_sha256 = sealing.keyed_digest(ring.lookup_key, told) if mended else plan.digest
    session.add(row)
    return row


def note_rows(session: Session, public_id: str, rows: int) -> None:
    """How many rows the trial has counted."""
    row = _drafted(session, public_id)
    row.rows_total = rows
    session.add(row)


def note_bad_rows(session: Session, public_id: str, rows: int, *, now: datetime, by: str) -> None:
    """Somebody took the bad rows of a file out again, addresses in clear (standards K8)."""
    ledger.append(session, "import.bad_rows_taken", subject=public_id, body={"rows": rows}, by=by, now=now)


def _drafted(session: Session, public_id: str) -> Import:
    row = queries.held(session, public_id)
    if row.state != "draft":
        raise rules.ImportMoved
    return row


def begin(session: Session, row: Import, *, tried: str | None = None, now: datetime, by: str) -> Import:
    """Start to run it: the entry holds the file's hash, the plan, and the words that were shown in full.

    A file that was imported under the same plan before is that import, and nothing begins: the earlier one is returned. `tried`: the
    digest of the plan it was tried under. Raises `PlanMoved`, `ImportUnknown`.
    """
    lock_ledger_tail(session)
    row = queries.held(session, row.public_id)
    if row.state != "draft":
        return row
    if tried is not None and tried != row.plan_sha256:
        raise rules.PlanMoved
    earlier = queries.of_file(session, row.file_sha256, row.plan_sha256)
    if earlier is not None:
        session.delete(row)
        return earlier
    body = {"file_sha256": row.file_sha256, "octets": row.octets, "rows": row.rows_total, "plan": row.plan}
    ledger.append(session, "import.started", subject=row.public_id, body=body, by=by, now=now)
    row.state, row.beat_at = "running", now
    session.add(row)
    return row


def transfer_of(row: Import) -> Transfer:
    """What marks the registrations of an import."""
    plan = rules.plan_of(row.plan)
    labelled = {one.topic: one.basis for one in plan.grants if one.basis != rules.CONSENT}
    return Transfer(row.public_id, plan.mail, labelled)


def take_chunk(
    session: Session,
    ring: Keyring,
    import_id: int,
    first: int,
    rows: Sequence[Prepared | list[Fault]],
    *,
    now: datetime,
    by: str,
) -> Import:
    """Take over the next rows of a running import, prepared under its plan, `first` being the number of rows done before. Raises
    `ImportMoved`.

    Rows that are wrong are counted. One transaction writes the entries, the people and how far it got.
    """
    lock_ledger_tail(session)
    row = session.get_one(Import, import_id, populate_existing=True)
    if row.state != "running" or row.rows_done != first:
        raise rules.ImportMoved
    plan, counts = rules.plan_of(row.plan), rules.Counts.of(row.counts)
    before = len(ledger.appended(session))
    good = [one for one in rows if isinstance(one, Prepared)]
    for one in rows:
        if not isinstance(one, Prepared):
            counts.add("refused", one[0].code)
    _take(session, ring, row, plan, good, counts, now=now, by=by)
    _keep_span(session, row, len(rows), before)
    row.rows_done, row.beat_at, row.counts = first + len(rows), now, counts.as_json()
    session.add(row)
    return row


def _take(
    session: Session,
    ring: Keyring,
    row: Import,
    plan: rules.Plan,
    good: list[Prepared],
    counts: rules.Counts,
    *,
    now: datetime,
    by: str,
) -> None:
    facts = look_up(session, now, transfer_of(row))
    for part in apart(good):  # a mailbox or an id twice: the second row is judged by what the first has made
        verdicts = judge(session, ring, plan.source, part, facts, attest=plan.attested, now=now)
        told = [one for one in verdicts if one.registration is not None]
        registrations = [one.registration for one in told if one.registration is not None]
        answers = register_many(
            session,
            ring,
            plan.source,
            registrations,
            attest=plan.attested,
            topics=None,
            now=now,
            by=by,
            facts=facts,
        )
        for one, answer in zip(told, answers, strict=True):
            _count(counts, answer)
            if one.row.noes and not isinstance(answer, DomainError):
                _say_no(session, ring, row, one, facts, now=now, by=by)
        _others(session, ring, row, verdicts, facts, counts, now=now, by=by)
        session.flush()


def _others(
    session: Session,
    ring: Keyring,
    row: Import,
    verdicts: Sequence[Verdict],
    facts: Facts,
    counts: rules.Counts,
    *,
    now: datetime,
    by: str,
) -> None:
    """The rows that register nobody: skipped, wrong after all, or a no."""
    for one in verdicts:
        for reason in one.row.left_out:
            counts.add("left_out", reason)
        for topic in one.kept_noes:
            counts.add("left_out", f"kept_no:{topic}")
        if one.registration is not None:
            continue
        if one.skipped:
            counts.add("skipped", one.skipped)
        elif one.wrong is not None:
            counts.add("refused", one.wrong.code)
        elif _say_no(session, ring, row, one, facts, now=now, by=by):
            counts.add("noes", one.row.no)
        else:
            counts.unchanged += 1


def _count(counts: rules.Counts, answer: Registered | DomainError) -> None:
    if isinstance(answer, DomainError):
        counts.add("refused", answer.code)
        return
    still, asked = (
        ("unchanged", "kept_no", "confirmation_pending", "always_on"),
        ("requested", "confirmation_sent"),
    )
    written = [
        one
        for one in answer.consents
        if one["result"] not in still and (one["result"] not in asked or one["state"] == "requested")
    ]
    for one in written:
        counts.add("given", f"{one['topic']}:{one['state']}")
    if answer.created:
        counts.new += 1
    elif answer.changed or written:
        counts.changed += 1
    else:
        counts.unchanged += 1


def _keep_span(session: Session, row: Import, rows: int, before: int) -> None:
    """Which entries this transaction wrote for the import: they lie together, the tail being ours until commit."""
    written = ledger.appended(session)[before:]
    if written and row.id is not None:
        session.add(
            ImportChunk(
                import_id=row.id,
                first_row=row.rows_done,
                rows=rows,
                first_seq=written[0].seq,
                last_seq=written[-1].seq,
            )
        )


def _say_no(
    session: Session, ring: Keyring, row: Import, one: Verdict, facts: Facts, *, now: datetime, by: str
) -> bool:
    """A no of the file, if there is one; whether anything was new."""
    before = len(ledger.appended(session))
    noes.say(session, ring, row.public_id, one, facts, now=now, by=by)
    return len(ledger.appended(session)) > before


def end(session: Session, import_id: int, *, now: datetime, by: str) -> Import:
    """All rows are done: the entry holds what became of them."""
    lock_ledger_tail(session)
    row = session.get_one(Import, import_id, populate_existing=True)
    if row.state != "running":
        return row
    row.state, row.ended_at, row.beat_at, row.mended = "done", now, now, None
    row.rows_total = row.rows_done
    ledger.append(session, "import.ended", subject=row.public_id, body={"counts": row.counts}, by=by, now=now)
    session.add(row)
    return row


def begin_taking_back(session: Session, public_id: str, *, reason: str, now: datetime, by: str) -> Import:
    """The controller takes back what an import gave, for a reason; of one whose process ended in the middle, what it gave so far: it
    goes on no more. Raises `ReasonMissing`, `ImportNotDone`."""
    lock_ledger_tail(session)
    row = queries.by_public_id(session, public_id)
    if row.state in ("taking_back", "taken_back"):
        return row
    if not reason.strip():
        raise rules.ReasonMissing(field="reason")
    cut_off = row.state == "running" and rules.is_still(row.beat_at, now)
    if row.state != "done" and not cut_off:
        raise rules.ImportNotDone
    row.state, row.back_after, row.beat_at, row.mended = "taking_back", 0, now, None
    body = {"reason": reason.strip()[:200]}
    ledger.append(session, "import.revoked", subject=row.public_id, body=body, by=by, now=now)
    session.add(row)
    return row


def take_back_chunk(
    session: Session,
    import_id: int,
    spans: list[tuple[int, int]],
    after: int,
    *,
    most: int = BATCH,
    now: datetime,
    by: str,
) -> Import:
    """Invalidate the next consents that stand on this import's entries still; what a person has confirmed, chosen or ended
    since stands on another entry and is left alone. `after`: the row number of the last person done.
    """
    lock_ledger_tail(session)
    row = session.get_one(Import, import_id, populate_existing=True)
    if row.state != "taking_back" or row.back_after != after:
        raise rules.ImportMoved
    found, more = _standing_on(session, spans, after, most) if spans else ([], False)
    firsts = [first for first, _ in spans]
    for preference in found:
        span = spans[bisect_right(firsts, preference.warrant_seq or 0) - 1]
        if span[0] <= (preference.warrant_seq or 0) <= span[1]:
            _invalidate(session, row, preference, now=now, by=by)
            row.taken_back += 1
    row.beat_at = now
    if more:
        row.back_after = found[-1].person_id
    else:
        row.state, row.ended_at = "taken_back", now
    session.add(row)
    return row


def _standing_on(
    session: Session, spans: list[tuple[int, int]], after: int, most: int
) -> tuple[list[Preference], bool]:
    """The next consents by person, and whether there may be more. The last person's topics are taken whole."""
    statement = (
        select(Preference)
        .where(
            col(Preference.person_id) > after,
            col(Preference.warrant_seq).between(spans[0][0], spans[-1][1]),
            col(Preference.state).in_(PERMITTING),
            col(Preference.basis).in_((*CONSENTED, rules.LEGACY)),
        )
        .order_by(col(Preference.person_id), col(Preference.topic_id))
    )
    found = list(session.exec(statement.limit(most)))
    if len(found) < most:
        return found, False
    last = found[-1].person_id
    whole = {one.topic_id for one in found if one.person_id == last}
    rest = statement.where(col(Preference.person_id) == last, col(Preference.topic_id).not_in(whole))
    return [*found, *session.exec(rest)], True


def _invalidate(session: Session, row: Import, preference: Preference, *, now: datetime, by: str) -> None:
    """By the controller, not the person: exported as *revoked* (standards J6)."""
    person, topic = session.get_one(Person, preference.person_id), topics.by_id(session, preference.topic_id)
    change = Change(session, person, None, Said("admin_on_request", "", transfer=row.public_id), now, by)
    move(change, topic, preference, "consent.invalidated", "invalidated")


def mend(session: Session, ring: Keyring, public_id: str, cells: dict[int, dict[str, str]]) -> Import:
    """Keep cells mended in the wizard beside the file, sealed; they are gone when the import has ended."""
    row = _drafted(session, public_id)
    together = queries.mended(ring, row)
    for number, one in cells.items():
        together[number] = {**together.get(number, {}), **one}
    plain = json.dumps({str(number): one for number, one in together.items()}).encode()
    row.mended = sealing.seal(ring.house_key, plain, queries.MENDED_AT.format(public_id))
    session.add(row)
    return row


def note_export(session: Session, *, reason: str, form: str, now: datetime, by: str) -> None:
    """Somebody takes everybody's data out: who, why and in which form, before the first person leaves (standards K8)."""
    if not reason.strip():
        raise rules.ReasonMissing(field="reason")
    body: dict[str, Any] = {"reason": reason.strip()[:200], "form": form}
    ledger.append(session, "people.exported", subject=None, body=body, by=by, now=now)


def note_exported(session: Session, people: Sequence[str], *, now: datetime, by: str) -> None:
    """Whose data left, in chunks, as it leaves."""
    ledger.append(
        session, "people.listed", subject=None, body={"people": list(people), "export": True}, by=by, now=now
    )
