"""Who may do what, what a password must be, how long a sign-in lasts. Pure; the doors ask `may`, actions the
rest.
"""

import hashlib
import unicodedata
from collections.abc import Iterable
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from service.kit.errors import Conflict, Forbidden, Invalid, NotFound, TooMany
from service.mail.headers import clean_header

ROLE_NAMES = {
    "marketing": "Marketing",
    "product": "Product",
    "privacy_officer": "Privacy officer",
    "admin": "Admin",
}
ROLES = tuple(ROLE_NAMES)

_EVERYBODY = """
    announcements:read notices:read templates:read topics:read policies:read inbox:own health:read
    settings:read
"""
_MARKETING = "announcements:write announcements:approve media:write people:read"
_PRODUCT = "notices:write notices:publish media:write people:read"
_PRIVACY = """
    announcements:approve people:read people:reveal people:import people:export people:rights people:ask topics:write policies:write
    contact:read contact:answer ledger:read ledger:verify
"""
# inbox:own is the captured mail to oneself, a test for instance. The whole of it is for admins: it holds
# everybody's mail in clear, and the links by which colleagues get in.
_ADMIN = f"{_MARKETING} {_PRODUCT} {_PRIVACY} settings:write staff:write keys:write inbox:all"

# The one table of permissions; every route names one of them, and a test walks the routes.
PERMISSIONS = {
    "marketing": frozenset(f"{_EVERYBODY} {_MARKETING}".split()),
    "product": frozenset(f"{_EVERYBODY} {_PRODUCT}".split()),
    "privacy_officer": frozenset(f"{_EVERYBODY} {_PRIVACY}".split()),
    "admin": frozenset(f"{_EVERYBODY} {_ADMIN}".split()),
}
ALL_PERMISSIONS = frozenset().union(*PERMISSIONS.values())

IDLE, ABSOLUTE, FRESH = timedelta(hours=8), timedelta(days=7), timedelta(minutes=5)
TRIES, WINDOW = 10, timedelta(minutes=15)
LIVES = {"first_run": timedelta(days=1), "invite": timedelta(days=7), "sign_in": timedelta(hours=1)}
# NIST SP 800-63B-4 3.1.1.2: fifteen while the password is the only factor, and there is no second one yet.
SHORTEST, LONGEST = 15, 256
NAME_LIMIT = 200

_HASHER = PasswordHasher()  # argon2id with the parameters of RFC 9106 section 4, second choice
# Checked when there is no such account, so that refusing takes as long (standards N10).
NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$Xe1p7eLk6/gizoGQ6sdTtw$OrVpS6D6IQb1/MEMHhFg1suupUcmlF8z3+aGiNWKjk4"

# What is tried first everywhere: words, which also fall with figures and signs behind them, and runs of keys.
_COMMON_WORDS = """
    password passw0rd p@ssword p@ssw0rd passwort kennwort motdepasse contrasena senha parola wachtwoord
    haslo qwerty qwertz azerty qwertyuiop qwertzuiop azertyuiop asdfghjkl yxcvbnm zxcvbnm qazwsx qazwsxedc
    qweasdzxc letmein letmeinnow iloveyou iloveu ichliebedich jetaime loveyou lovely welcome willkommen
    bienvenue admin administrator adminadmin root rootroot superuser master guest default changeme
    changemenow secret geheim test testtest tester testing temporary temp computer internet server windows
    microsoft google facebook linkedin office outlook dropbox monkey dragon football fussball baseball
    basketball hockey soccer superman batman spiderman starwars pokemon naruto trustno sunshine princess
    shadow michael jennifer jordan charlie daniel thomas robert andrew joshua matthew jessica ashley nicole
    samantha alexander sebastian elizabeth whatever freedom mustang corvette ferrari mercedes porsche harley
    hunter ranger cookie chocolate cheese butterfly flower flowers summer winter spring autumn january
    february september october november december monday friday sommer hello hellohello goodbye access login
    signin blink zaqxsw zaqwsx abcabc bidden mailing newsletter marketing company business money dollar
    diamond silver purple orange yellow banana apple tigger liverpool chelsea arsenal barcelona juventus
    bayern realmadrid maverick phoenix thunder samsung nintendo
"""
_COMMON = frozenset(_COMMON_WORDS.split())
_RUNS = (
    "01234567890123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm", "1q2w3e4r5t6y7u8i9o0p", "q1w2e3r4t5y6u7i8o9p0", "a1b2c3d4e5f6g7h8",
)  # fmt: skip


class SignInRefused(Forbidden):
    """Address and password do not belong together."""


class SignInTooOften(TooMany):
    """Too many tries for this account; please wait a quarter of an hour."""


class LinkUsed(NotFound):
    """This link was used already or is too old; ask for a new one."""


class PasswordTooShort(Invalid):
    """A password has at least 15 characters; a sentence is the easiest to keep in mind."""


class PasswordTooLong(Invalid):
    """A password has at most 256 characters."""


class PasswordCommon(Invalid):
    """That password is among the first that anybody would try."""

    fix_hint = "Take three or four words that do not belong together."


class PasswordWrong(Invalid):
    """That is not your present password."""


class NameMissing(Invalid):
    """Please give a name."""


class NameTooLong(Invalid):
    """A name has at most 200 characters."""


class RoleUnknown(Invalid):
    """There is no such role."""


class AddressMissing(Invalid):
    """Please give an e-mail address."""


class StaffUnknown(NotFound):
    """There is no such colleague."""


class StaffKnown(Conflict):
    """Somebody with that address is already here."""


class StaffEnded(Conflict):
    """That account is closed; open it again first."""


class LastAdmin(Conflict):
    """One admin must remain; make somebody else an admin first."""


class NotPermitted(Forbidden):
    """Your role does not allow that."""


def may(role: str, permission: str) -> bool:
    """Whether a role holds a permission. An unknown permission raises KeyError: a misspelt route must not
    stand open.
    """
    if permission not in ALL_PERMISSIONS:
        raise KeyError(permission)
    return permission in PERMISSIONS.get(role, frozenset())


def check_role(role: str) -> str:
    """The role, if there is one by that name. Raises `RoleUnknown`."""
    if role not in PERMISSIONS:
        raise RoleUnknown(field="role", fix="One of: " + ", ".join(ROLES))
    return role


def check_name(typed: str) -> str:
    """A colleague's name, on one line. Raises `NameMissing`, `NameTooLong` or a header rule."""
    name = clean_header(typed.strip(" "), field="name")
    if not name:
        raise NameMissing(field="name")
    if len(name) > NAME_LIMIT:
        raise NameTooLong(field="name")
    return name


def check_password(typed: str, *, about: Iterable[str] = ()) -> str:
    """The password in its one form (NFKC), if it may be used; `about` are words that would be guessed (name,
    address).

    No rule of composition (standards N14, NIST SP 800-63B-4 3.1.1.2). Raises `PasswordTooShort`,
    `PasswordTooLong` or `PasswordCommon`.
    """
    password = unicodedata.normalize("NFKC", typed)
    if len(password) < SHORTEST:
        raise PasswordTooShort(field="password")
    if len(password) > LONGEST:
        raise PasswordTooLong(field="password")
    plain = _once(password.casefold())
    word = _once(plain.strip("0123456789!?.,-_*#$%&+=@ "))
    guessed = {
        part.casefold()
        for text in about
        for part in (text, *text.replace("@", " ").replace(".", " ").split())
    }
    if word in _COMMON or plain in _COMMON or _is_run(plain) or plain in guessed or word in guessed:
        raise PasswordCommon(field="password")
    return password


def _once(plain: str) -> str:
    """What a text repeats, or the text: a word typed twice is as easy to guess as the word."""
    return plain[: (plain + plain).find(plain, 1)]


def _is_run(plain: str) -> bool:
    """Few different signs, or one walk along the keys, forwards or back."""
    return len(set(plain)) < 3 or any(plain in run or plain[::-1] in run for run in _RUNS)


def hash_password(password: str) -> str:
    """argon2id (RFC 9106) over a checked password: about 100 ms and 64 MiB."""
    return _HASHER.hash(password)


def password_matches(stored: str | None, typed: str) -> bool:
    """Whether that is the password; for an account that does not exist (None) the same work, and False."""
    password = unicodedata.normalize("NFKC", typed[: 4 * LONGEST])
    try:
        return _HASHER.verify(stored or NOBODY, password) and bool(stored)
    except (VerificationError, InvalidHashError):
        return False


def token_hash(token: str) -> str:
    """What is stored of a token: its SHA-256 (the token itself has 256 bits of chance)."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def session_lives(*, seen_at: datetime, ends_at: datetime, now: datetime) -> bool:
    """Whether a sign-in still holds: at most eight hours idle, at most seven days in all (standards N13)."""
    return now < ends_at and now < seen_at + IDLE
