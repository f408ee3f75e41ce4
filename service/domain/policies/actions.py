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
    texts: Mapping[str, rules.PolicyText | None],
    effective_at: datetime | None = None,
    after: int | None = None,
    now: datetime,
    by: str,
) -> list[PolicyVersion]:
    """Publish the next version, in all its languages; an unknown slug begins a policy.

    `texts`: by language; one that the newest version has and that is not named goes along as it was, None leaves it out. `after`: the
    version the texts were written on. Nobody's consent changes by it (standards J8). Raises the rules of texts, `NoLanguageLeft`,
    `PublishedMeanwhile`, and `EffectiveTooEarly`.
    """
    given = {rules.check_locale(one): rules.check_text(text) if text else None for one, text in texts.items()}
    if effective_at is not None and effective_at < now:
        raise rules.EffectiveTooEarly(field="effective_on")
    policy = _policy(session, rules.check_slug(slug))
    newest = queries.newest_of(queries.versions(session, slug))
    number = max((text.version for text in newest.values()), default=0) + 1
    if after is not None and after != number - 1:
        raise rules.PublishedMeanwhile
    checked = rules.next_texts(
        {locale: rules.PolicyText(text.title, text.body) for locale, text in newest.items()}, given
    )
    policy.title = checked[rules.best_locale(set(checked), "en")].title
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
    starts = made[0].effective_at.isoformat()
    body = {"policy": slug, "version": number, "texts": hashes, "effective_at": starts}
    if left_out := sorted(set(newest) - set(checked)):
        body["left_out"] = left_out
    ledger.append(session, "policy.published", subject=None, body=body, by=by, now=now)
    return made


def _policy(session: Session, slug: str) -> Policy:
    """The policy's row, made where missing and ours until commit: one number for each publication."""
    session.connection().execute(insert_or_skip(session, Policy, ["slug"]).values(slug=slug, title=slug))
    policy = session.exec(select(Policy).where(col(Policy.slug) == slug)).one()
    session.refresh(policy, with_for_update=True)
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
