"""Reading brands, their DKIM keys and settings, and what follows from a brand's domain."""

from functools import lru_cache
from typing import Any

from sqlmodel import Session, col, select

from service.domain.brands import rules
from service.domain.brands.tables import Brand, DkimKey, Setting
from service.domain.ledger import queries as ledger
from service.kit import sealing
from service.kit.signing import Keyring
from service.mail import dkim

DEFAULT = "default"
CLOCK = "clock"  # of the row beside the settings that says how the wall clock stood
BEHIND = "behind"  # and of the one that says what this database does not have of what was signed outside it
DKIM_SEALED_AT = "dkim_key|{}|{}"  # domain, selector


def by_name(session: Session, name: str) -> Brand:
    """One brand by its short name. Raises `BrandUnknown`."""
    brand = session.exec(select(Brand).where(col(Brand.name) == name)).first()
    if brand is None:
        raise rules.BrandUnknown(field="brand")
    return brand


def default_brand(session: Session) -> Brand:
    """The seeded brand, in whose name staff and system mails go."""
    return by_name(session, DEFAULT)


def by_id(session: Session, brand_id: int) -> Brand:
    """One brand by its row number. Raises `BrandUnknown`."""
    brand = session.get(Brand, brand_id)
    if brand is None:
        raise rules.BrandUnknown(field="brand")
    return brand


def everyone(session: Session) -> list[Brand]:
    """All brands, by name."""
    return list(session.exec(select(Brand).order_by(col(Brand.name))))


def settings(session: Session) -> dict[str, Any]:
    """Every known setting with its value, or its default where staff have not changed it."""
    stored = {row.name: row.value for row in session.exec(select(Setting))}
    return {name: stored.get(name, kind.default) for name, kind in rules.SETTINGS.items()}


def setting(session: Session, name: str) -> Any:
    """One setting's value. Raises `UnknownField`."""
    kind = rules.kind_of(name)
    row = session.get(Setting, name)
    return kind.default if row is None else row.value


def noted_clock(session: Session) -> dict[str, Any]:
    """How the wall clock stood when the scheduler believed it last (`boot`, `start`, `at`), and by how many seconds it has
    `jumped` since, if it has; empty before it was ever looked at."""
    row = session.get(Setting, CLOCK)
    return {} if row is None else dict(row.value)


def noted_behind(session: Session) -> dict[str, Any]:
    """That this database is behind what was signed outside it, as `note_behind` has kept it; empty when it is not."""
    row = session.get(Setting, BEHIND)
    return {} if row is None else dict(row.value)


def restores(session: Session) -> frozenset[str]:
    """Which restores and merges this database has gone through, by the hashes of their entries."""
    return frozenset(one.hash for one in ledger.of_kinds(session, ("database.restored",)))


def clock_jump(session: Session) -> float:
    """Seconds by which the wall clock jumped, for which sending was switched off; 0 when it is on, or off for another reason."""
    return 0.0 if setting(session, "sending_on") else float(noted_clock(session).get("jumped", 0.0))


def reply_to(brand: Brand) -> str:
    """Where answers go: as set, else hello@ the From domain."""
    return brand.reply_to or f"hello@{brand.from_domain}"


def bounce_domain(brand: Brand) -> str:
    """The domain of envelope senders: as set, else the From domain itself (aligned, standards E4)."""
    return brand.bounce_domain or brand.from_domain


def from_address(brand: Brand, mailbox: str) -> str:
    """The From address of a sender's mailbox such as `news`."""
    return f"{mailbox}@{brand.from_domain}"


def live_dkim_keys(session: Session, brand: Brand) -> list[DkimKey]:
    """The keys of a brand whose records must stand in DNS, oldest first."""
    live = select(DkimKey).where(col(DkimKey.brand_id) == brand.id, col(DkimKey.state) != "retired")
    return list(session.exec(live.order_by(col(DkimKey.id))))


def dkim_key(session: Session, brand: Brand, selector: str) -> DkimKey:
    """One key of a brand, retired or not. Raises `SelectorUnknown`.

    Of several by that selector, made for one From domain after another, the newest.
    """
    named = select(DkimKey).where(col(DkimKey.brand_id) == brand.id, col(DkimKey.selector) == selector)
    row = session.exec(named.order_by(col(DkimKey.id).desc())).first()
    if row is None:
        raise rules.SelectorUnknown(field="selector")
    return row


def signing_key(session: Session, ring: Keyring, brand: Brand) -> dkim.Key | None:
    """What signs this brand's mail now. None when no key does, when the one that did was made for another From domain
    (E4), or when it does not open (`bidden doctor` says so): then mail leaves unsigned, and nobody waits."""
    columns = (col(DkimKey.selector), col(DkimKey.sealed))
    signs = select(*columns).where(
        col(DkimKey.brand_id) == brand.id,
        col(DkimKey.state) == "signing",
        col(DkimKey.domain) == brand.from_domain,
    )
    found = session.exec(signs).first()
    if found is None or found[1] is None:
        return None
    try:
        return opened(ring.house_key, brand.from_domain, *found)
    except sealing.Unsealable:
        return None


@lru_cache(maxsize=32)
def opened(house_key: bytes, domain: str, selector: str, sealed: bytes) -> dkim.Key:
    """A stored key ready to sign; unsealed once per process, not once per batch. Raises `Unsealable`."""
    der = sealing.unseal(house_key, sealed, DKIM_SEALED_AT.format(domain, selector))
    return dkim.Key(domain, selector, dkim.open_private_key(der))
