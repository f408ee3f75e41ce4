"""What every process opens first: settings, engine and key ring, in one hand. Called by `app`, the command line and the scheduler."""

from dataclasses import dataclass

from sqlalchemy.engine import Engine

import service.domain
from service.config import Settings
from service.db import migrate
from service.db.engine import make_engine
from service.db.session import transaction
from service.domain.deliveries.rules import Waits
from service.kit import clock, failpoints, logs
from service.kit.signing import Keyring, load_or_make
from service.ops import seed


@dataclass(frozen=True)
class House:
    """The assembled installation, as the doors and the sender get it."""

    settings: Settings
    engine: Engine
    ring: Keyring

    @property
    def waits(self) -> Waits:
        """How long positions wait until they are tried again."""
        return Waits(self.settings.retries, self.settings.unknown_retry_seconds)


def open_house(settings: Settings | None = None) -> House:
    """Read the settings, make the engine, open the key ring. Raises what a person can mend (`KeyFileRefused`, ValueError)."""
    settings = settings or Settings()
    logs.set_up(settings.log_level)
    failpoints.arm()
    service.domain.load_tables()
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return House(settings, make_engine(settings.database), load_or_make(settings.key_file))


def upgrade(house: House) -> None:
    """Make or bring up the database and its seeds (`db upgrade`; `up` does it at start)."""
    migrate.upgrade(house.engine)
    with transaction(house.engine) as session:
        seed.seed(session, house.ring, now=clock.now())
