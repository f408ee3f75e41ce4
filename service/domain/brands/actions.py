"""Changing brands and settings. Each change is one ledger entry with the value before and after."""

from collections.abc import Mapping
from datetime import datetime

from sqlmodel import Session

from service.db.locks import insert_or_skip
from service.domain.brands import queries, rules
from service.domain.brands.tables import Brand, Setting
from service.domain.ledger import actions as ledger


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
    brand = queries.by_name(session, name)
    session.refresh(brand, with_for_update=True)
    changed = [field for field, value in values.items() if getattr(brand, field) != value]
    for field in changed:
        body = {"brand": name, "field": field, "before": getattr(brand, field), "after": values[field]}
        setattr(brand, field, values[field])
        ledger.append(session, "brand.changed", subject=None, body=body, by=by, now=now)
    session.flush()
    return changed


def set_setting(session: Session, name: str, value: object, *, now: datetime, by: str) -> bool:
    """Change one setting; false when it already was so. Taking sending off is an entry that stops mail (the
    fence waits).

    Raises `UnknownField` or `SettingInvalid`.
    """
    after = rules.check_setting(name, value)
    row = _locked(session, name, now)
    before = row.value
    if before == after:
        return False
    row.value, row.changed_at = after, now
    session.flush()
    kind = "settings.sending_off" if name == "sending_on" and not after else "settings.changed"
    ledger.append(
        session, kind, subject=None, body={"setting": name, "before": before, "after": after}, by=by, now=now
    )
    return True


def _locked(session: Session, name: str, now: datetime) -> Setting:
    """The setting's row, made with its default where missing, and ours until commit."""
    default = {"name": name, "value": rules.kind_of(name).default, "changed_at": now}
    session.connection().execute(insert_or_skip(session, Setting, ["name"]).values(default))
    row = session.get_one(Setting, name)
    session.refresh(row, with_for_update=True)
    return row
