"""What is the same for everybody goes compressed; a page with a secret in it never (BREACH)."""

import pytest
from starlette.testclient import TestClient

from service.domain.links import rules as links
from tests.web.conftest import World


@pytest.mark.parametrize("path", ["/static/app.css", "/static/public.css", "/changelog", "/policies"])
def test_what_is_the_same_for_everybody_goes_compressed(client: TestClient, path: str) -> None:
    small = client.get(path, headers={"Accept-Encoding": "gzip"})
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert small.text == plain.text
    assert "content-encoding" not in plain.headers
    if len(plain.content) > 1_000:
        assert small.headers["content-encoding"] == "gzip"
        assert int(small.headers["content-length"]) < len(plain.content) / 2
        assert "Accept-Encoding" in small.headers["vary"]


def test_a_page_that_holds_a_secret_does_not(client: TestClient, world: World) -> None:
    person = world.person()
    for path in (world.stop_link(person), "/p/" + world.link(links.PREFERENCES, person, "updates"), "/join"):
        answer = client.get(path, headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200
        assert "content-encoding" not in answer.headers
