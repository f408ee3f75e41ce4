"""What changed in a policy: its title is part of what was published, and whoever reads the difference is told of it."""

from starlette.testclient import TestClient

from service.domain.policies import actions
from service.domain.policies.rules import PolicyText
from service.kit import clock
from tests.web.conftest import World

BODY = "We write to you about what you chose.\n\nNothing else."


def test_another_title_is_a_change(client: TestClient, world: World) -> None:
    for title in ("Privacy", "Privacy and advertising"):
        texts = {"en": PolicyText(title, BODY)}
        world.change(
            lambda session, texts=texts: actions.publish(
                session, slug="privacy", texts=texts, now=clock.now(), by="cli"
            )
        )
    page = client.get("/policies/privacy?version=3&since=2").text
    assert "Nothing: the text is the same." not in page
    assert "<ins>and advertising</ins>" in page
    assert "<del>" not in page
    same = client.get("/policies/privacy?version=3&since=3").text
    assert "Nothing: the text is the same." in same
