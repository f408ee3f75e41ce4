"""What every process opens first: settings, engine and key ring, in one hand. Called by `app`, the command line and the scheduler."""

from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select

import service.domain
from service.config import Settings
from service.db import migrate
from service.db.engine import make_engine
from service.db.session import reading, transaction
from service.domain.deliveries.rules import Waits
from service.domain.ledger.tables import Checkpoint
from service.domain.mailings.tables import Address
from service.domain.people.tables import Person
from service.kit import clock, failpoints, keyfile, logs
from service.kit.signing import KeyFileRefused, Keyring, load_or_make
from service.ops import seed


class House:
    """The assembled installation, as the doors and the sender get it."""

    def __init__(self, settings: Settings, engine: Engine, ring: Keyring | keyfile.Live) -> None:
        self.settings, self.engine, self._ring = settings, engine, ring

    @property
    def ring(self) -> Keyring:
        """The keys as they are now: what begins with this look ends with it, whatever is rotated meanwhile."""
        return self._ring.ring if isinstance(self._ring, keyfile.Live) else self._ring

    def watch_ring(self) -> None:
        """For a process that stays: a changed key file is read within a second."""
        if isinstance(self._ring, keyfile.Live):
            self._ring.watch()

    @property
    def waits(self) -> Waits:
        """How long positions wait until they are tried again."""
        return Waits(self.settings.retries, self.settings.unknown_retry_seconds)


def open_house(settings: Settings | None = None) -> House:
    """Read the settings, make the engine, open the key ring. Raises what a person can mend (`KeyFileRefused`, ValueError).

    A ring is made only where nothing was closed with another: a new one would open nothing, and forget every no.
    """
    settings = settings or Settings()
    logs.set_up(settings.log_level)
    failpoints.arm()
    service.domain.load_tables()
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine, place = make_engine(settings.database), settings.key_file
    if not place.exists() and needs_its_ring(engine):
        engine.dispose()
        raise KeyFileRefused(
            f"The key file {place} is missing, and this database was made with one. Bring it back from its backup: "
            "bidden ring restore FILE"
        )
    return House(settings, engine, keyfile.Live(place, load_or_make(place)))


def needs_its_ring(engine: Engine) -> bool:
    """Whether anything in the database was closed or signed with a key. False where it does not answer: it will be asked again
    by whatever needs it."""
    wanted = (
        select(Person.id).where(col(Person.wrapped_key).is_not(None)),
        select(Address.id).where(col(Address.sealed).is_not(None)),
        select(Checkpoint.size),
    )
    try:
        with reading(engine) as session:
            return any(session.execute(one.limit(1)).first() is not None for one in wanted)
    except SQLAlchemyError:
        return False


def upgrade(house: House) -> None:
    """Make or bring up the database and its seeds (`db upgrade`; `up` does it at start)."""
    migrate.upgrade(house.engine)
    with transaction(house.engine) as session:
        seed.seed(session, house.ring, now=clock.now())
