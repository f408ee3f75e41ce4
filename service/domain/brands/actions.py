"""Changing brands, their DKIM keys and settings. Each change is one ledger entry with the value before and after."""

from collections.abc import Mapping, Set
from datetime import datetime

from sqlmodel import Session, col, select

from service.db.locks import insert_or_skip, lock_ledger_tail
from service.domain.brands import queries, rules
from service.domain.brands.tables import Brand, DkimKey, Setting
from service.domain.ledger import actions as ledger
from service.kit import sealing
from service.kit.signing import Keyring
from service.mail import dkim

SYSTEM = ledger.SYSTEM
MOST_LIVE_KEYS = 2


def create(session: Session, name: str, *, title: str, from_domain: str, now: datetime, by: str) -> Brand:
    """Make a brand; its other fields are set later. Raises the rules of the two fields."""
    domain = rules.check_field("from_domain", from_domain)
    brand = Brand(name=name, title=rules.check_field("title", title), from_domain=domain)
    session.add(brand)
    session.flush()
    body = {"brand": name, "title": brand.title, "from_domain": domain}
    ledger.append(session, "brand.created", subject=None, body=body, by=by, now=now)
    return brand


def set_fields(
    session: Session, name: str, fields: Mapping[str, str], *, now: datetime, by: str
) -> list[str]:
    """Change fields of a brand; returns the names of those that differ from before.

    Raises `BrandUnknown`, `UnknownField`, or the rule a value breaks, naming the field; then nothing is
    changed.
    """
    values = {field: rules.check_field(field, typed) for field, typed in fields.items()}
    brand = _locked_brand(session, name)
    changed = [field for field, value in values.items() if getattr(brand, field) != value]
    for field in changed:
        body = {"brand": name, "field": field, "before": getattr(brand, field), "after": values[field]}
        setattr(brand, field, values[field])
        ledger.append(session, "brand.changed", subject=None, body=body, by=by, now=now)
    session.flush()
    return changed


def new_dkim_key(
    session: Session,
    ring: Keyring,
    name: str,
    *,
    private: bytes,
    selector: str | None = None,
    now: datetime,
    by: str,
) -> DkimKey:
    """Keep a key for a brand's present From domain; it does not sign before `use_dkim_key`.

    `private` is from `dkim.new_private_key`, made before the transaction begins. Raises `BrandUnknown`,
    `TwoSelectorsLive`, `SelectorInvalid`, `SelectorTaken`.
    """
    brand = _locked_brand(session, name)
    live = queries.live_dkim_keys(session, brand)
    if len(live) >= MOST_LIVE_KEYS:
        idle = next(row.selector for row in live if row.state != "signing")
        raise rules.TwoSelectorsLive(field="selector", fix=f"bidden brand dkim retire {idle} {name}")
    taken = set(session.exec(select(DkimKey.selector).where(col(DkimKey.domain) == brand.from_domain)))
    chosen = rules.check_selector(selector) if selector else rules.next_selector(now.date(), taken)
    if chosen in taken:
        raise rules.SelectorTaken(field="selector")
    assert brand.id is not None
    place = queries.DKIM_SEALED_AT.format(brand.from_domain, chosen)
    row = DkimKey(
        brand_id=brand.id,
        domain=brand.from_domain,
        selector=chosen,
        public=dkim.public_text(private),
        sealed=sealing.seal(ring.house_key, private, place),
        created_at=now,
    )
    session.add(row)
    session.flush()
    _note_key(session, "dkim_key.created", brand, row, {"public": row.public}, now=now, by=by)
    return row


def use_dkim_key(session: Session, name: str, selector: str, *, now: datetime, by: str) -> str | None:
    """Let a key sign the brand's mail from every sender's next batch on; returns the selector that signed before.

    That one stays published, for mail under way. Raises `BrandUnknown`, `SelectorUnknown`, `SelectorRetired`,
    `SelectorOfAnotherDomain`.
    """
    brand = _locked_brand(session, name)
    row = queries.dkim_key(session, brand, selector)
    if row.state == "retired":
        raise rules.SelectorRetired(field="selector")
    if row.domain != brand.from_domain:
        raise rules.SelectorOfAnotherDomain(field="selector")
    former = next((one for one in queries.live_dkim_keys(session, brand) if one.state == "signing"), None)
    if former is row:
        return row.selector
    if former is not None:
        former.state, former.ended_at = "published", now
        session.flush()  # first, or two would sign for a moment, which the index refuses
    row.state, row.began_at, row.ended_at = "signing", now, None
    session.flush()
    before = former.selector if former else None
    _note_key(session, "dkim_key.used", brand, row, {"before": before}, now=now, by=by)
    return before


def retire_dkim_key(
    session: Session, name: str, selector: str, *, unsigned: bool = False, now: datetime, by: str
) -> None:
    """End a key: its private half is forgotten, its record may leave DNS. Nothing happens when it has ended already.

    Raises `BrandUnknown`, `SelectorUnknown`, and `SelectorSigns` unless mail may leave `unsigned`.
    """
    brand = _locked_brand(session, name)
    row = queries.dkim_key(session, brand, selector)
    if row.state == "retired":
        return
    signed = row.state == "signing"
    if signed and not unsigned and row.domain == brand.from_domain:
        raise rules.SelectorSigns(field="selector")
    row.state, row.sealed, row.retired_at = "retired", None, now
    if signed:
        row.ended_at = now
    session.flush()
    _note_key(session, "dkim_key.retired", brand, row, {"signed": signed}, now=now, by=by)


def _locked_brand(session: Session, name: str) -> Brand:
    """The brand, ours until commit, so that two changes of its keys come one after the other. After the ledger's tail, as everybody who
    writes there has that first; and not against whoever only refers to the brand, as each mailing does."""
    lock_ledger_tail(session)
    brand = queries.by_name(session, name)
    session.refresh(brand, with_for_update={"key_share": True})
    return brand


def _note_key(
    session: Session,
    kind: str,
    brand: Brand,
    row: DkimKey,
    more: dict[str, object],
    *,
    now: datetime,
    by: str,
) -> None:
    body = {"brand": brand.name, "domain": row.domain, "selector": row.selector, **more}
    ledger.append(session, kind, subject=None, body=body, by=by, now=now)


def set_setting(
    session: Session, name: str, value: object, *, now: datetime, by: str, reason: str = ""
) -> bool:
    """Change one setting; false when it already was so. Taking sending off is an entry that stops mail (the
    fence waits). `reason` stands in the entry where it is not a person's choice.

    Raises `UnknownField`, `SettingInvalid`, or `DatabaseBehind` where sending may not be on.
    """
    after = rules.check_setting(name, value)
    if name == "sending_on" and after and queries.noted_behind(session):
        raise rules.DatabaseBehind(field=name)
    row = _locked(session, name, now)
    before = row.value
    if before == after:
        return False
    row.value, row.changed_at = after, now
    session.flush()
    kind = "settings.sending_off" if name == "sending_on" and not after else "settings.changed"
    body = {"setting": name, "before": before, "after": after} | ({"reason": reason} if reason else {})
    ledger.append(session, kind, subject=None, body=body, by=by, now=now)
    return True


def note_clock(session: Session, facts: dict[str, object], *, now: datetime) -> None:
    """Keep how the wall clock stood when it was believed last, and by how much it has `jumped` since; no entry, no setting."""
    _note(session, queries.CLOCK, facts, now=now)


def note_behind(session: Session, facts: dict[str, object], *, now: datetime) -> None:
    """Keep that this database is behind what was signed outside it, and by what (`reason`, `size`, `known`): sending goes off
    and cannot be switched on while it is."""
    set_setting(session, "sending_on", False, now=now, by=SYSTEM, reason="restored")
    _note(session, queries.BEHIND, facts, now=now)


def is_behind(session: Session, size: int, known: int, restores: Set[str], *, now: datetime) -> bool:
    """Whether the ledger, of so many entries, ends before one that a sender has seen: then an older copy has taken the database's
    place under it, and sending goes off. But for a copy merged since the sender began (`restores`: the hashes of those before):
    what it has seen is of another past, which says nothing against this one.
    """
    if size >= known:
        return False
    if queries.restores(session) <= restores:
        note_behind(session, {"reason": "behind", "size": size, "known": known}, now=now)
    return True


def note_restored(session: Session, facts: dict[str, object], *, now: datetime, by: str) -> None:
    """A copy has taken the database's place, and what was taken away since is in it now: `facts` go into the ledger."""
    _note(session, queries.BEHIND, {}, now=now)
    ledger.append(session, "database.restored", subject=None, body=facts, by=by, now=now)


def note_ring(session: Session, act: str, facts: dict[str, object], *, now: datetime, by: str) -> None:
    """Keep what was done to the key ring (`ring.` and the act); `facts` name keys by their marks and hold none."""
    ledger.append(session, f"ring.{act}", subject=None, body=facts, by=by, now=now)


def _note(session: Session, name: str, facts: dict[str, object], *, now: datetime) -> None:
    values = {"name": name, "value": facts, "changed_at": now}
    session.connection().execute(insert_or_skip(session, Setting, ["name"]).values(values))
    row = session.get_one(Setting, name)
    row.value, row.changed_at = facts, now
    session.flush()


def _locked(session: Session, name: str, now: datetime) -> Setting:
    """The setting's row, made with its default where missing, and ours until commit."""
    default = {"name": name, "value": rules.kind_of(name).default, "changed_at": now}
    session.connection().execute(insert_or_skip(session, Setting, ["name"]).values(default))
    row = session.get_one(Setting, name)
    session.refresh(row, with_for_update=True)
    return row
