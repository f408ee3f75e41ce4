"""The DNS records mailbox providers ask for (standards E1, E3, E6, F2): SPF, DMARC, MX, and one for each live DKIM key.

Called by `doctor`. Each finding holds the record to paste.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import dns.exception
import dns.resolver
from sqlmodel import Session

from service.domain.brands import queries as brands
from service.domain.brands.tables import Brand
from service.kit.sealing import Unsealable
from service.kit.signing import Keyring
from service.mail import dkim
from service.ops.health import Fact

PATIENCE = 5.0  # seconds for one answer


@dataclass(frozen=True)
class Key:
    """A live DKIM key as far as it is looked at: its record, whether it signs, and what is wrong inside the house."""

    brand: str
    selector: str
    domain: str
    public: str
    signs: bool
    wrong: str = ""


def signing(session: Session, ring: Keyring) -> list[Key]:
    """The live keys of every brand."""
    found = []
    for brand in brands.everyone(session):
        for row in brands.live_dkim_keys(session, brand):
            wrong = (
                ""
                if row.domain == brand.from_domain
                else f"is for {row.domain}; mail is from {brand.from_domain}"
            )
            try:
                brands.opened(ring.house_key, row.domain, row.selector, row.sealed or b"")
            except Unsealable:
                wrong = "does not open with this key file"
            found.append(Key(brand.name, row.selector, row.domain, row.public, row.state == "signing", wrong))
    return found


def signatures(keys: list[Key], *, look: bool) -> list[Fact]:
    """Whether each key's record stands in DNS; where it is not looked for (`look`), the record alone."""
    if not keys:
        return [
            Fact("DKIM", True, "no key here: have your mail server sign, or make one: bidden brand dkim new")
        ]
    return [_key(key, look=look) for key in keys]


def _key(key: Key, *, look: bool) -> Fact:
    name = f"DKIM {key.selector}"
    at, value = dkim.record_name(key.selector, key.domain), dkim.record_value(key.public)
    paste = dkim.zone_line(at, value)
    if key.wrong:
        fix = f"bidden brand dkim new {key.brand}; publish its record, use it, and retire {key.selector}"
        why = "Mail that it should sign leaves unsigned." if key.signs else "It could not sign."
        return Fact(name, False, key.wrong, why, fix)
    if not look:
        return Fact(name, True, f"not looked for while mail is captured; to publish: {paste}")
    why = (
        "The mail it signs now fails without it."
        if key.signs
        else "Mail it signs, or signed before, fails without it."
    )
    fact = _record(name, at, lambda text: _public(text) == key.public, why, paste)
    return replace(fact, says=f"{'signs' if key.signs else 'published, does not sign'}; {fact.says}")


def _public(text: str) -> str:
    """The `p=` of a DKIM record (RFC 6376 section 3.6.1); blanks in it mean nothing."""
    tags = dict(part.partition("=")[::2] for part in "".join(text.split()).split(";"))
    return tags.get("p", "")


def of(brand: Brand) -> list[Fact]:
    """What a brand's domains need, whoever signs."""
    domain, bounces = brand.from_domain, brands.bounce_domain(brand)
    return [
        _record(
            "SPF",
            bounces,
            lambda text: text.lower().startswith("v=spf1"),
            "Without it mailbox providers refuse or hide your mail.",
            f'{bounces}. TXT "v=spf1 include:YOUR-MAIL-SERVER -all"',
        ),
        _record(
            "DMARC",
            f"_dmarc.{domain}",
            lambda text: text.upper().startswith("V=DMARC1"),
            "Gmail and Yahoo ask it of everybody who sends much.",
            f'_dmarc.{domain}. TXT "v=DMARC1; p=none; rua=mailto:postmaster@{domain}"',
        ),
        _mail_exchanger(bounces),
    ]


def _record(name: str, at: str, fits: Callable[[str], bool], why: str, paste: str) -> Fact:
    try:
        answers = dns.resolver.resolve(at, "TXT", lifetime=PATIENCE)
    except dns.exception.DNSException as error:
        return Fact(name, False, f"no TXT record at {at} ({type(error).__name__})", why, paste)
    texts = [b"".join(row.strings).decode(errors="replace") for row in answers]
    found = [text for text in texts if fits(text)]
    if len(found) == 1:
        return Fact(name, True, found[0])
    return Fact(name, False, f"{len(found)} records at {at}; there must be one", why, paste)


def _mail_exchanger(domain: str) -> Fact:
    why, paste = "Bounces and answers come back there.", f"{domain}. MX 10 YOUR-MAIL-SERVER."
    try:
        rows = dns.resolver.resolve(domain, "MX", lifetime=PATIENCE)
    except dns.exception.DNSException as error:
        return Fact("MX", False, f"none at {domain} ({type(error).__name__})", why, paste)
    return Fact("MX", True, ", ".join(sorted(str(row.exchange).rstrip(".") for row in rows)))
