"""A witness of somebody who means ill: answers that are none, a redirect, two looks at once, and a key that came later."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from service.db.session import reading
from service.domain.ledger import checkpoints
from service.kit import clock, signing
from service.ops import ring, ring_copies, witness
from service.ops.house import House
from tests.ops.test_witness import _key, _more

Answer = Callable[[BaseHTTPRequestHandler], None]


class _Server(BaseHTTPRequestHandler):
    answer: Answer
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Authorization", ""))
        type(self).answer(self)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], tuple[str, list[str]]]]:
    running: list[HTTPServer] = []

    def begin(answer: Answer) -> tuple[str, list[str]]:
        asked: list[str] = []
        handler = type("Handler", (_Server,), {"answer": staticmethod(answer), "asked": asked})
        server = HTTPServer(("127.0.0.1", 0), handler)
        running.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}", asked

    yield begin
    for server in running:
        server.shutdown()
        server.server_close()


def _says(octets: bytes, length: int | None = None) -> Answer:
    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Length", str(len(octets) if length is None else length))
        to.end_headers()
        to.wfile.write(octets)

    return answer


def _no_http(to: BaseHTTPRequestHandler) -> None:
    to.wfile.write(b"none of this is HTTP\r\n\r\n")
    to.close_connection = True


def _endless_line(to: BaseHTTPRequestHandler) -> None:
    to.wfile.write(b"HTTP/1.1 200 " + b"a" * 100_000 + b"\r\n\r\n")
    to.close_connection = True


def _many_headers(to: BaseHTTPRequestHandler) -> None:
    to.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(1000)) + b"\r\n")
    to.close_connection = True


ODD: dict[str, Answer] = {
    "nested": _says(b"[" * 200_000),
    "nested within": _says(b'{"note": ' + b"[" * 200_000),
    "cut off": _says(b'{"note": "x"', length=5_000),
    "no HTTP": _no_http,
    "an endless line": _endless_line,
    "many headers": _many_headers,
    "a path that is a text": _says(json.dumps({"note": "x", "consistency": 5}).encode()),
    "half a character": _says(b"\xff\xfe"),
    "nothing": _says(b""),
    "a number of 10,000 digits": _says(b"9" * 10_000),
}


@pytest.mark.parametrize("what", ODD)
def test_an_answer_that_is_none_is_said(
    serve: Callable[[Answer], tuple[str, list[str]]], tmp_path: Path, house: House, what: str
) -> None:
    url, _ = serve(ODD[what])
    with pytest.raises(witness.SourceAway):
        witness.watch(tmp_path / "seen.json", witness.from_url(url, "k"), _key(house))
    assert not (tmp_path / "seen.json").exists()


def test_an_answer_that_drips_does_not_keep_it_from_speaking(
    serve: Callable[[Answer], tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    def drip(to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Length", "1000")
        to.end_headers()
        while not ended.wait(0.05):
            to.wfile.write(b" ")

    monkeypatch.setattr(witness, "TIMEOUT", 0.3)
    url, _ = serve(drip)
    began = time.monotonic()
    try:
        with pytest.raises(witness.SourceAway):
            witness.from_url(url, "k")(0)
    finally:
        ended.set()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "url", ["https://example.org:port", "https://exa mple.org", "https://example.org/\n"]
)
def test_an_address_that_is_none_is_said(url: str) -> None:
    with pytest.raises(witness.SourceAway):
        witness.from_url(url, "k")(0)


def test_the_key_goes_nowhere_else_than_it_was_meant_for(
    serve: Callable[[Answer], tuple[str, list[str]]], tmp_path: Path, house: House
) -> None:
    """A redirect would take it to another place, and out of https."""
    there, asked = serve(_says(b"{}"))

    def away(to: BaseHTTPRequestHandler) -> None:
        to.send_response(302)
        to.send_header("Location", there)
        to.end_headers()

    url, _ = serve(away)
    with pytest.raises(witness.SourceAway):
        witness.watch(tmp_path / "seen.json", witness.from_url(url, "secret"), _key(house))
    assert asked == []


def test_whoever_is_answered_late_forgets_nothing_that_was_seen_meanwhile(
    house: House, tmp_path: Path
) -> None:
    """Held up with an older head while the next look has seen more, the former would have put its memory back to it."""
    state = tmp_path / "seen.json"
    _more(house, 2)
    witness.watch(state, witness.from_house(house), _key(house))
    _more(house, 3)
    honest = witness.from_house(house)

    def held_up(since: int) -> tuple[str, list[str]]:
        older = honest(since)
        _more(house, 4)
        witness.watch(state, honest, [])
        return older

    with pytest.raises(witness.SeenMeanwhile):
        witness.watch(state, held_up, [])
    with reading(house.engine) as session:
        assert json.loads(state.read_text())["note"] == checkpoints.latest_note(session)
    assert witness.watch(state, honest, []).came == 0


def test_a_memory_that_went_meanwhile_is_not_begun_anew(house: House, tmp_path: Path) -> None:
    state = tmp_path / "seen.json"
    _more(house, 2)
    witness.watch(state, witness.from_house(house), _key(house))

    def gone(since: int) -> tuple[str, list[str]]:
        state.unlink()
        return witness.from_house(house)(since)

    with pytest.raises(witness.SeenMeanwhile):
        witness.watch(state, gone, [])


def test_a_new_key_is_enough_where_the_one_before_is_remembered(house: House, tmp_path: Path) -> None:
    """What was seen last bears the former signature alone."""
    state = tmp_path / "seen.json"
    _more(house, 2)
    witness.watch(state, witness.from_house(house), _key(house))
    ring.new(house, "signing", now=clock.now(), by="cli")
    ring_copies.back_up(house, tmp_path.parent / f"{tmp_path.name}-ring", now=clock.now(), by="cli")
    ring.use(house, "signing", now=clock.now(), by="cli")
    house.ring = signing.load(house.settings.key_file)
    _more(house, 3)
    new = next(iter(checkpoints.keys(house.ring)))
    assert witness.watch(state, witness.from_house(house), [new]).came
    assert json.loads(state.read_text())["keys"] == [new], "and the former is trusted no more"
