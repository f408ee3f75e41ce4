"""Reading policies: what is in force, what was, and which version a form showed."""

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from service.domain.policies import rules
from service.domain.policies.tables import Policy, PolicyVersion, ProcessingProfile


def slugs(session: Session) -> list[Policy]:
    """Every policy, by slug."""
    return list(session.exec(select(Policy).order_by(col(Policy.slug))))


def by_slug(session: Session, slug: str) -> Policy:
    """One policy. Raises `PolicyUnknown`."""
    policy = session.exec(select(Policy).where(col(Policy.slug) == slug)).first()
    if policy is None:
        raise rules.PolicyUnknown
    return policy


def versions(session: Session, slug: str) -> list[PolicyVersion]:
    """Every text of a policy, newest version first. Raises `PolicyUnknown`."""
    found = list(session.exec(_VERSIONS, params={"of": slug}))
    if not found:
        by_slug(session, slug)
    return found


_VERSIONS = (
    select(PolicyVersion)
    .join(Policy, col(Policy.id) == col(PolicyVersion.policy_id))
    .where(col(Policy.slug) == bindparam("of"))
    .order_by(col(PolicyVersion.version).desc(), col(PolicyVersion.locale))
)


def current(session: Session, slug: str, locale: str, *, now: datetime) -> PolicyVersion:
    """The newest version in effect, in the wanted language if it has it, else in English or any. Raises `PolicyUnknown`."""
    return best(in_force(session, slug, now=now), locale)


def in_force(session: Session, slug: str, *, now: datetime) -> dict[str, PolicyVersion]:
    """The newest version in effect, in each of its languages: one that it lacks is not taken from a version before.

    Of a policy whose first version is not yet in effect, that one. Raises `PolicyUnknown`.
    """
    return in_effect(versions(session, slug), now)


def in_effect(texts: Sequence[PolicyVersion], at: datetime) -> dict[str, PolicyVersion]:
    """The same of these texts, of which there is one at least."""
    numbers = [text.version for text in texts if text.effective_at <= at]
    return of_version(texts, max(numbers) if numbers else min(text.version for text in texts))


def of_version(texts: Sequence[PolicyVersion], number: int) -> dict[str, PolicyVersion]:
    """One version of these, by language."""
    return {text.locale: text for text in texts if text.version == number}


def newest_of(texts: Sequence[PolicyVersion]) -> dict[str, PolicyVersion]:
    """The newest version of these, by language, whether or not it is in effect yet."""
    return of_version(texts, max((text.version for text in texts), default=0))


def before(texts: Sequence[PolicyVersion], one: PolicyVersion) -> int | None:
    """The version before this one that is there in the same language, or None."""
    earlier = (text.version for text in texts if text.locale == one.locale and text.version < one.version)
    return max(earlier, default=None)


def best(texts: Mapping[str, PolicyVersion], locale: str) -> PolicyVersion:
    """Of one version the text in the wanted language, else in English or any."""
    return texts[rules.best_locale(set(texts), locale)]


def version(session: Session, slug: str, number: int, locale: str) -> PolicyVersion:
    """One version in the best language. Raises `PolicyUnknown` or `PolicyVersionUnknown`."""
    texts = of_version(versions(session, slug), number)
    if not texts:
        raise rules.PolicyVersionUnknown
    return best(texts, locale)


def listed(session: Session, locale: str, *, now: datetime) -> list[PolicyVersion]:
    """The version in effect of every policy."""
    return [current(session, policy.slug, locale, now=now) for policy in slugs(session)]


def by_id(session: Session, version_id: int) -> PolicyVersion:
    """One text by its row number. Raises `PolicyVersionUnknown`."""
    row = session.get(PolicyVersion, version_id)
    if row is None:
        raise rules.PolicyVersionUnknown
    return row


def by_version_name(session: Session, name: str) -> PolicyVersion | None:
    """The text that a form named (`privacy-v1-en`), or None."""
    parts = rules.read_version_name(name)
    if parts is None:
        return None
    slug, number, locale = parts
    exact = (
        col(Policy.slug) == slug,
        col(PolicyVersion.version) == number,
        col(PolicyVersion.locale) == locale,
    )
    return session.exec(select(PolicyVersion).join(Policy).where(*exact)).first()


def name_of(session: Session, text: PolicyVersion) -> str:
    """What a form calls this text: `privacy-v1-en`."""
    return rules.version_name(session.get_one(Policy, text.policy_id).slug, text.version, text.locale)


def profile(session: Session) -> ProcessingProfile | None:
    """What is done with people's data today; None where nothing was put down yet."""
    newest = select(ProcessingProfile).order_by(col(ProcessingProfile.version).desc()).limit(1)
    return session.exec(newest).first()


def profiles_at(session: Session, seqs: Iterable[int]) -> list[ProcessingProfile]:
    """What was done with people's data when these entries were written, oldest first, each version once."""
    rows = list(session.exec(select(ProcessingProfile).order_by(col(ProcessingProfile.version))))
    begins = [row.entry_seq for row in rows]
    places = {bisect_left(begins, seq) for seq in seqs}
    return [rows[place - 1] for place in sorted(places) if place]


def profile_as_read(row: ProcessingProfile) -> dict[str, Any]:
    """Such a version as receipts and evidence files have it."""
    return {
        "version": row.version,
        "entry": row.entry_seq,
        "published_at": row.published_at.isoformat(),
        "sha256": row.sha256,
        "profile": json.loads(row.body),
    }
