"""Reading starters, compiled versions and pictures, and how a brand looks in a mail."""

from sqlmodel import Session

from service.domain.brands.tables import Brand
from service.domain.templates import rules
from service.domain.templates.tables import Media, TemplateVersion
from service.mail import letters
from service.mail import starters as shelf


def starters() -> tuple[shelf.Starter, ...]:
    """The starters a composer offers."""
    return shelf.starters()


def starter(slug: str) -> shelf.Starter:
    """One starter. Raises `UnknownStarter`."""
    return shelf.starter(slug)


def version(session: Session, version_id: int) -> TemplateVersion:
    """One compiled version. Raises `VersionUnknown`."""
    row = session.get(TemplateVersion, version_id)
    if row is None:
        raise rules.VersionUnknown
    return row


def compiled(row: TemplateVersion) -> letters.CompiledMail:
    """A stored version as `letters.load` takes it."""
    return letters.stored(
        subject=row.subject,
        preheader=row.preheader,
        html=row.html,
        text=row.text,
        fields=row.fields,
        sha256=row.sha256,
    )


def look(brand: Brand, base_url: str) -> letters.BrandLook:
    """What a mail shows of its brand; `base_url` is the public address that its footer links stand on."""
    return letters.BrandLook(
        name=brand.title,
        postal_address=brand.postal_address,
        colour=brand.colour,
        logo_url=brand.logo_url,
        contact_url=f"{base_url}/contact",
        privacy_url=f"{base_url}/policies/privacy",
        base_url=base_url,
    )


def media(session: Session, sha256: str) -> Media | None:
    """A picture by its hash."""
    return session.get(Media, sha256)
