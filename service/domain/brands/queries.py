"""Reading brands and settings, and what follows from a brand's domain."""

from typing import Any

from sqlmodel import Session, col, select

from service.domain.brands import rules
from service.domain.brands.tables import Brand, Setting

DEFAULT = "default"


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


def reply_to(brand: Brand) -> str:
    """Where answers go: as set, else hello@ the From domain."""
    return brand.reply_to or f"hello@{brand.from_domain}"


def bounce_domain(brand: Brand) -> str:
    """The domain of envelope senders: as set, else the From domain itself (aligned, standards E4)."""
    return brand.bounce_domain or brand.from_domain


def from_address(brand: Brand, mailbox: str) -> str:
    """The From address of a sender's mailbox such as `news`."""
    return f"{mailbox}@{brand.from_domain}"
