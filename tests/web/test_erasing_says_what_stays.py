"""Before an erasure both pages name the registers that outlive it: what was asked for by law, and to whom something was given."""

import pytest
from starlette.testclient import TestClient

from service.domain.brands import actions as brands
from service.domain.privacy import periods
from service.kit import clock
from tests.web.conftest import World
from tests.web.public.test_profile import signed_in


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        (
            "en",
            (
                "What you asked of us by law",
                "for 45 days after the answer",
                "To whom we gave something of yours",
            ),
        ),
        (
            "de",
            (
                "Worum Sie uns nach dem Gesetz baten",
                "45 Tage nach der Antwort",
                "Wem wir etwas von Ihnen gaben",
            ),
        ),
    ],
)
def test_std_h11_the_registers_are_among_what_stays(
    client: TestClient, world: World, lang: str, words: tuple[str, ...]
) -> None:
    signed_in(client, world)
    world.change(
        lambda session: brands.set_setting(session, "requests_days", 45, now=clock.now(), by="staff:s_test")
    )
    page = client.get(f"/me/erase?lang={lang}").text
    for one in words:
        assert one in page
    assert periods.TABLES["rights_request"] == periods.REQUESTS
