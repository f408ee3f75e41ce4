"""One strict reading of an e-mail address, and its one normal form. Called by every door that takes an address."""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import idna
from email_validator import EmailNotValidError, validate_email

from service.kit.errors import Invalid

_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"  # the last: octets of a command line that are no UTF-8
)
_DOT_ATOM = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
)  # RFC 5321 4.1.2
_NOT_PUBLIC = {
    "localhost",
    "local",
    "localdomain",
    "internal",
    "invalid",
    "test",
    "onion",
    "lan",
    "home",
    "arpa",
}


LONGEST_LOCAL, LONGEST = 64, 254


class AddressControlChar(Invalid):
    """The address holds a character that cannot be seen; please type it again."""


class AddressSyntax(Invalid):
    """That does not look like one e-mail address, such as ana@example.org."""


class AddressTooLong(Invalid):
    """The address is too long: at most 64 octets before the @ and 254 in all."""


class DomainNotPublic(Invalid):
    """Mail cannot be sent to that domain; please give an address on the public internet."""


@dataclass(frozen=True)
class Address:
    """An address in its stored form: local part in NFC as typed, domain as A-label (RFC 5890) in lower case."""

    local: str
    domain: str

    @property
    def text(self) -> str:
        """As it stands in an envelope."""
        return f"{self.local}@{self.domain}"

    @property
    def shown(self) -> str:
        """As people read it: the domain as U-label."""
        try:
            return f"{self.local}@{idna.decode(self.domain)}"
        except idna.IDNAError:
            return self.text

    @property
    def key(self) -> str:
        """What two ways of writing one mailbox share; the input of the keyed hash. Case of the local part is folded,
        because no mailbox provider in use tells Ana@ from ana@ and one person must get one mail (H10)."""
        return f"{unicodedata.normalize('NFKC', self.local).casefold()}@{self.domain}"

    @property
    def masked(self) -> str:
        """Enough for its owner to know it by: a***a@example.org."""
        local = self.local
        return f"{local[0]}***{local[-1] if len(local) > 1 else ''}@{idna_shown(self.domain)}"


@lru_cache(maxsize=4096)
def idna_shown(domain: str) -> str:
    """A domain as people read it."""
    try:
        return str(idna.decode(domain))
    except idna.IDNAError:
        return domain


def parse(typed: object, *, field: str = "email") -> Address:
    """Read exactly one public address (RFC 5321 4.1.2, 6531; no comments, literals or routes: standards A12).

    RFC 5321 4.5.3.1 gives the local part 64 octets, the domain 255 and a path 256; the path's two brackets leave 254
    for both together (erratum 1690 of RFC 3696), so a domain alone never comes to its 255.

    Raises `AddressControlChar`, `AddressTooLong`, `DomainNotPublic` or `AddressSyntax`, each naming `field`.
    """
    if not isinstance(typed, str):
        raise AddressSyntax(field=field)
    text = unicodedata.normalize("NFC", typed.strip(" "))
    if _CONTROL.search(text):
        raise AddressControlChar(field=field)
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain or '"' in local or "@" in local:
        raise AddressSyntax(field=field)
    domain = _a_label(domain, field)
    if len(local.encode()) > LONGEST_LOCAL or len(local.encode()) + 1 + len(domain) > LONGEST:
        raise AddressTooLong(field=field)
    if domain.startswith("[") or "." not in domain or domain.rpartition(".")[2] in _NOT_PUBLIC:
        raise DomainNotPublic(field=field)
    if not (_takes_mail(domain) if _DOT_ATOM.fullmatch(local) else _valid(local, domain)):
        raise AddressSyntax(field=field)
    return Address(local, domain)


@lru_cache(maxsize=4096)
def _takes_mail(domain: str) -> bool:
    """Whether a plain dot-atom is valid there; kept, because thousands of people share a domain."""
    return _valid("a", domain)


def _valid(local: str, domain: str) -> bool:
    try:
        validate_email(f"{local}@{domain}", check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return False
    return True


def _a_label(domain: str, field: str) -> str:
    """Lower-case A-labels (RFC 5891); a literal such as [127.0.0.1] is left for the caller to refuse."""
    domain = domain.lower()
    if domain.startswith("["):
        return domain
    if len(domain) > 1020:
        raise AddressTooLong(field=field)
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode()
    except idna.IDNAError as wrong:
        raise AddressSyntax(field=field) from wrong


def parse_stored(text: str) -> Address:
    """Take apart an address that `parse` has accepted before."""
    local, _, domain = text.rpartition("@")
    return Address(local, domain)
