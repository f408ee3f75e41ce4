"""The API as programs meet it: the mounted app, and keys of the source `shop`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from service.api import door
from service.config import Settings
from service.db.session import transaction
from service.domain.api_keys import actions as api_keys
from service.domain.brands import actions as brands
from service.kit import clock
from service.kit.signing import Keyring
from service.ops.house import House


@pytest.fixture
def house(engine: Engine, database_url: str, ring: Keyring, tmp_path: Path) -> House:
    settings = Settings(
        data_dir=tmp_path, database_url=database_url, hold_seconds=60, public_url="", smtp_url=""
    )
    with transaction(engine) as session:
        address = {"postal_address": "Kettle Works, Mill Lane 1, 12345 Riverton"}
        brands.set_fields(session, "default", address, now=clock.now(), by="system")
    return House(settings, engine, ring)


@pytest.fixture
def make_key(house: House) -> Callable[..., str]:
    def make(*scopes: str, source: str = "shop", topics: list[str] | None = None) -> str:
        with transaction(house.engine) as session:
            return api_keys.create(
                session,
                name=source,
                source=source,
                scopes=scopes or ("all",),
                topics=topics,
                now=clock.now(),
                by="cli",
            ).plaintext

    return make


@pytest.fixture
def app(house: House) -> Starlette:
    return Starlette(routes=[Mount("/api", door.build(house))])


@pytest.fixture
def client_of(app: Starlette) -> Iterator[Callable[[str | None], TestClient]]:
    """A client with a key, or without one."""
    opened: list[TestClient] = []

    def client(key: str | None) -> TestClient:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        opened.append(
            TestClient(
                app, base_url="http://127.0.0.1:8000/api/v1", headers=headers, raise_server_exceptions=False
            )
        )
        return opened[-1]

    yield client
    for one in opened:
        one.close()


@pytest.fixture
def api(client_of: Callable[[str | None], TestClient], make_key: Callable[..., str]) -> TestClient:
    """A client whose key may do everything for the source `shop`."""
    return client_of(make_key())
