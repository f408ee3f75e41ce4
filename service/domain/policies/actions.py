"""Publishing a policy, or what is done with people's data: a new version, never changed afterwards, with its hash in the ledger."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from service.db.locks import insert_or_skip, lock_ledger_tail
from service.domain.ledger import actions as ledger
from service.domain.policies import queries, rules
from service.domain.policies.tables import Policy, PolicyVersion, ProcessingProfile


def publish(
    session: Session,
    *,
    slug: str,
    texts: Mapping[str, rules.PolicyText],
    effective_at: datetime | None = None,
    now: datetime,
    by: str,
) -> list[PolicyVersion]:
    """Publish the next version in the languages given (locale → text); an unknown slug begins a policy.

    Nobody's consent changes by it (standards J8). Raises the rules of texts, and `EffectiveTooEarly`.
    """
    checked = {rules.check_locale(locale): rules.check_text(text) for locale, text in texts.items()}
    if not checked:
        raise rules.PolicyEmpty(field="body")
    if effective_at is not None and effective_at < now:
        raise rules.EffectiveTooEarly(field="effective_on")
    policy = _policy(session, rules.check_slug(slug), checked)
    number = max((text.version for text in queries.versions(session, slug)), default=0) + 1
    assert policy.id is not None
    made = [
        PolicyVersion(
            policy_id=policy.id,
            version=number,
            locale=locale,
            title=text.title,
            body=text.body,
            sha256=rules.text_hash(slug, number, locale, text),
            published_at=now,
            effective_at=effective_at or now,
        )
        for locale, text in sorted(checked.items())
    ]
    session.add_all(made)
    session.flush()
    hashes = {text.locale: text.sha256 for text in made}
    body = {
        "policy": slug,
        "version": number,
        "texts": hashes,
        "effective_at": made[0].effective_at.isoformat(),
    }
    ledger.append(session, "policy.published", subject=None, body=body, by=by, now=now)
    return made


def _policy(session: Session, slug: str, texts: Mapping[str, rules.PolicyText]) -> Policy:
    """The policy's row, made where missing and ours until commit: one number for each publication."""
    title = texts[rules.best_locale(set(texts), "en")].title
    session.connection().execute(insert_or_skip(session, Policy, ["slug"]).values(slug=slug, title=title))
    policy = session.exec(select(Policy).where(col(Policy.slug) == slug)).one()
    session.refresh(policy, with_for_update=True)
    policy.title = title
    return policy


def publish_profile(
    session: Session, profile: dict[str, Any], *, now: datetime, by: str = ledger.SYSTEM
) -> ProcessingProfile | None:
    """Put down what is done with people's data from now on; None where that is what the last version says."""
    lock_ledger_tail(session)  # two clocks put it down one after the other
    body, digest = rules.profile_text(profile)
    last = queries.profile(session)
    if last is not None and last.sha256 == digest:
        return None
    number = last.version + 1 if last else 1
    told = {"version": number, "sha256": digest}
    seq = ledger.append(session, "processing.published", subject=None, body=told, by=by, now=now)
    row = ProcessingProfile(version=number, body=body, sha256=digest, entry_seq=seq, published_at=now)
    session.add(row)
    session.flush()
    return row
