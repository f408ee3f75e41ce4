"""People whose every field holds a word that stands nowhere else, and the search for what is left of them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlmodel import select

from service.db.engine import is_sqlite
from service.db.session import reading, transaction
from service.domain.mailings import queries as mailings
from service.domain.mailings.tables import Address, Mailing
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences.registration import Registered, Registration, register_many
from service.domain.privacy import queries as privacy
from service.domain.privacy.tables import ContactRequest
from service.kit import sealing
from service.kit.signing import Keyring
from service.ops.house import House
from tests import builders as make


@dataclass
class Marked:
    """One of them: the words, and what they are known by."""

    number: int
    person_id: str = ""
    alias: int = 0
    words: list[str] = field(default_factory=list)

    @property
    def email(self) -> str:
        return f"{self.word('mail')}@example.org"

    @property
    def external_id(self) -> str:
        return self.word("id")

    def word(self, name: str) -> str:
        """A word of theirs alone, plain enough to be found in any file."""
        made = f"zq{name}{self.number:06d}x"
        if made not in self.words:
            self.words.append(made)
        return made

    def registration(self, at: datetime) -> Registration:
        profile = {
            name: self.word(name.replace("_", ""))
            for name in ("first_name", "last_name", "company", "postal_address", "telephone")
        }
        answer = make.an_answer("new-products", at=at, confirmed=True)
        answer["evidence"]["url"] = f"https://shop.example.org/{self.word('page')}"
        answer["evidence"]["user_agent"] = self.word("agent")
        return Registration(
            self.external_id,
            self.email,
            locale="en",
            profile=profile,
            attributes={"plan": self.word("plan")},
            consents=[answer],
        )


def sign_up(house: House, number: int, *, now: datetime, start: int = 0) -> list[Marked]:
    """So many of them, confirmed, 200 in a transaction."""
    everybody = [Marked(start + place) for place in range(number)]
    for first in range(0, number, 200):
        chunk = everybody[first : first + 200]
        given = [one.registration(now - timedelta(hours=1)) for one in chunk]
        with transaction(house.engine) as session:
            done = register_many(
                session, house.ring, "shop", given, attest=True, topics=None, now=now, by="key:k_test"
            )
            for one, answer in zip(chunk, done, strict=True):
                assert isinstance(answer, Registered), answer
                one.person_id = answer.person_id
    with reading(house.engine) as session:
        aliases = {row.public_id: row.alias for row in session.exec(select(Person))}
    for one in everybody:
        one.alias = aliases[one.person_id]
    return everybody


def rows_with(engine: Engine, words: Sequence[str]) -> list[str]:
    """Every table and column in which one of the words stands, octets and text alike."""
    wanted = re.compile("|".join(map(re.escape, words)), re.IGNORECASE)
    found = set()
    with engine.connect() as connection:
        for table in _tables(engine):
            rows = connection.execute(text(f'SELECT * FROM "{table}"'))
            for row in rows.mappings():
                for column, value in row.items():
                    plain = (
                        bytes(value).decode("latin-1")
                        if isinstance(value, bytes | memoryview)
                        else str(value)
                    )
                    if wanted.search(plain):
                        found.add(f"{table}.{column}")
    return sorted(found)


def opened_with(engine: Engine, ring: Keyring) -> list[str]:
    """Everything in the database that the house's own key opens, in clear."""
    found = []
    with reading(engine) as session:
        for address in session.exec(select(Address).where(Address.owner_kind == "visitor")):
            if address.sealed:
                found.append(mailings.open_address(ring, address).text)
        for asked in session.exec(select(ContactRequest)):
            found += list(privacy.asked(ring, asked).values())
            found += [one.text for one in privacy.answers(ring, asked)]
        for mailing in session.exec(select(Mailing)):
            found.append(str(mailings.open_facts(ring, mailing.purpose, mailing.facts or {})))
    return found


def _tables(engine: Engine) -> list[str]:
    listing = (
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        if is_sqlite(engine)
        else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    )
    with engine.connect() as connection:
        return [row[0] for row in connection.execute(text(listing))]


def files_with(files: Iterable[Path], words: Sequence[str]) -> list[str]:
    """The files in which one of the words stands."""
    wanted = re.compile("|".join(map(re.escape, words)).encode(), re.IGNORECASE)
    return [path.name for path in files if wanted.search(path.read_bytes())]


def opened_by(files: Iterable[Path], ring: Keyring, aliases: Sequence[int]) -> set[int]:
    """Whose key these files still give away to somebody who holds the master key: every run of octets as long as a wrapped
    key is tried for each of these persons, wherever it stands.

    A wrapped key begins with the octets of its wrapping key's id and of the cipher's version: only there can one begin.
    Each such run is tried for every person, for nothing beside it says whose it is.
    """
    length = 1 + sealing.SHORTEST + 32
    starts = [bytes([kid]) + sealing.VERSION for kid in ring.wrap_keys]
    runs = {run for path in files for run in _runs(path.read_bytes(), starts, length)}
    return {alias for run in runs for alias in _opens(run, ring, aliases)}


def _runs(octets: bytes, starts: Sequence[bytes], length: int) -> Iterator[bytes]:
    for start in starts:
        place = octets.find(start)
        while place >= 0:
            if len(run := octets[place : place + length]) == length:
                yield run
            place = octets.find(start, place + 1)


def _opens(run: bytes, ring: Keyring, aliases: Sequence[int]) -> Iterator[int]:
    for alias in aliases:
        try:
            people.unwrap(ring, alias, run)
        except sealing.Unsealable:
            continue
        yield alias


def data_files(house: House) -> list[Path]:
    """Every file that holds the database: of SQLite its file, log and index; of PostgreSQL the directory of this database."""
    if is_sqlite(house.engine):
        place = Path(str(house.engine.url.database))
        return [path for path in place.parent.glob(f"{place.name}*") if path.is_file()]
    with house.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CHECKPOINT"))  # what it has in memory lies in its files, too
        directory = Path(connection.execute(text("SHOW data_directory")).scalar_one())
        number = connection.execute(
            text("SELECT oid FROM pg_database WHERE datname = current_database()")
        ).scalar_one()
    return [path for path in (directory / "base" / str(number)).iterdir() if path.is_file()]
