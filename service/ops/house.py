"""What every process opens first: settings, engine and key ring, in one hand. Called by `app`, the command line and the scheduler."""

from threading import Lock

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
from service.kit.signing import KeyFileRefused, Keyring
from service.ops import seed


class House:
    """The assembled installation, as the doors and the sender get it."""

    def __init__(self, settings: Settings, engine: Engine, ring: Keyring | keyfile.Live) -> None:
        self.settings, self.engine = settings, engine
        self._live = ring if isinstance(ring, keyfile.Live) else None
        self._looking = Lock()
        # The keys as they were at the last look, for the price of an attribute: a sender's event loop asks no disk.
        self.ring = ring.ring if isinstance(ring, keyfile.Live) else ring

    def look(self) -> Keyring:
        """The keys as the file has them now, which `ring` then gives, too: for what begins now."""
        if self._live is not None:
            with self._looking:
                self.ring = self._live.ring
        return self.ring

    def watch_ring(self) -> None:
        """For a process that stays: a changed key file is read within a second."""
        keyfile.watch(self.look)

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
    return House(settings, engine, keyfile.Live(place))


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
