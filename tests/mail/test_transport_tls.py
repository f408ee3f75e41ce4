"""TLS and login at the door to SMTP, towards a server of another make."""

import asyncio
import datetime
import functools
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.mail.transport import (
    ConnectFailed,
)
from tests.mail.wired import Post, Run, letter, open_wire

# TLS and login


@functools.cache
def _certificate(name: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _server_context(tmp_path: Path, name: str) -> ssl.SSLContext:
    certificate, key = _certificate(name)
    (tmp_path / "c.pem").write_bytes(certificate)
    (tmp_path / "k.pem").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    return context


def _trusting(name: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=_certificate(name)[0].decode())


class Aiosmtpd:
    """An independent server: no PIPELINING, STARTTLS and AUTH by the library's own rules."""

    def __init__(self, **how: Any) -> None:
        self.how = how
        self.taken: list[tuple[str, bytes]] = []
        self.tried: list[tuple[bytes, bytes]] = []
        self.heard = b""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken.append((envelope.rcpt_tos[0], envelope.content))
        return "250 2.0.0 ok"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.tried.append((data.login, data.password))
        return AuthResult(success=data.password == b"right", handled=False)

    async def __aenter__(self) -> int:
        loop = asyncio.get_running_loop()
        implicit = self.how.pop("implicit", None)
        outer = self

        class Heard(SMTP):
            def data_received(self, data: bytes) -> None:
                outer.heard += data
                super().data_received(data)

        self.server = await loop.create_server(
            lambda: Heard(self, loop=loop, authenticator=self.authenticate, enable_SMTPUTF8=True, **self.how),
            "127.0.0.1",
            0,
            ssl=implicit,
        )
        return int(self.server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()


async def _through(server: Aiosmtpd, url: str, **how: Any) -> Post:
    async with server as port:
        post = Post([letter(n) for n in range(3)])
        await post.all(port, url=url, **how)
        return post


def test_std_d12_starttls_with_a_trusted_certificate_and_login(run: Run, tmp_path: Path) -> None:
    context = _server_context(tmp_path, "localhost")
    server = Aiosmtpd(tls_context=context, require_starttls=True, auth_require_tls=True)
    post = run(
        _through(
            server, "smtp://us%40er:right@localhost:{}?starttls=always", tls_context=_trusting("localhost")
        )
    )
    assert set(post.states().values()) == {"sent"}
    assert [data for _, data in server.taken] == [letter(n).data for n in range(3)]
    assert server.tried == [(b"us@er", b"right")]
    assert b"MAIL" not in server.heard.split(b"STARTTLS")[0]


def test_std_d12_implicit_tls(run: Run, tmp_path: Path) -> None:
    server = Aiosmtpd(implicit=_server_context(tmp_path, "localhost"))
    post = run(_through(server, "smtps://localhost:{}", tls_context=_trusting("localhost")))
    assert set(post.states().values()) == {"sent"}


def test_wire_knows_its_tls_and_its_unsent_bytes(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with Aiosmtpd(tls_context=_server_context(tmp_path, "localhost")) as port:
            wire = await open_wire(port, "smtp://127.0.0.1:{}?starttls=auto")
            assert wire.tls_version == "TLSv1.3"
            post = Post([letter(0)])
            await post.over(wire)
            assert post.states() == {0: "sent"}
            assert wire.unsent_bytes() == 0
            wire.abort()
            await wire.wait_closed()

    run(main())


def test_under_tls_a_letter_that_waits_for_its_reply_may_not_have_left(run: Run, tmp_path: Path) -> None:
    """The layer between may hold a part of it that the kernel never saw, and nobody can ask it: the fence has to reset."""

    async def main() -> None:
        async with Aiosmtpd(tls_context=_server_context(tmp_path, "localhost")) as port:
            wire = await open_wire(port, "smtp://127.0.0.1:{}?starttls=auto")
            post, seen = Post([letter(0)]), []

            async def look() -> None:
                while not post.states():
                    if wire.in_flight():
                        seen.append(wire.unsent_bytes())
                    await asyncio.sleep(0)

            looking = asyncio.create_task(look())
            await post.over(wire)
            await looking
            assert seen
            assert min(seen) > 0
            assert wire.unsent_bytes() == 0, "its reply is here"
            wire.abort()
            await wire.wait_closed()

    run(main())


@pytest.mark.parametrize(
    ("case", "url", "name", "trusts", "reason"),
    [
        ("self-signed", "smtp://user:secret@localhost:{}?starttls=always", "localhost", None, "tls_failed"),
        (
            "wrong name",
            "smtp://user:secret@localhost:{}?starttls=always",
            "evil.example",
            "evil.example",
            "tls_failed",
        ),
        ("no STARTTLS", "smtp://user:secret@localhost:{}?starttls=always", None, None, "tls_required"),
        ("stripped, not loopback", "smtp://user:secret@0.0.0.0:{}", None, None, "tls_required"),
        ("never, not loopback", "smtp://user:secret@0.0.0.0:{}?starttls=never", None, None, "tls_required"),
    ],
)
def test_std_d12_rel_h76_nothing_is_sent_and_no_password_revealed(
    run: Run, tmp_path: Path, case: str, url: str, name: str | None, trusts: str | None, reason: str
) -> None:
    server = Aiosmtpd(
        tls_context=_server_context(tmp_path, name) if name else None,
        auth_require_tls=False,
    )

    async def main() -> None:
        async with server as port:
            with pytest.raises(ConnectFailed) as failed:
                await open_wire(port, url, tls_context=_trusting(trusts) if trusts else None)
            assert failed.value.reason == reason

    run(main())
    assert server.tried == []
    assert server.taken == []
    for word in (b"AUTH", b"MAIL", b"secret", b"c2VjcmV0"):
        assert word not in server.heard


def test_std_d12_implicit_tls_with_an_unknown_certificate(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with Aiosmtpd(implicit=_server_context(tmp_path, "localhost")) as port:
            with pytest.raises(ConnectFailed, match="tls_failed"):
                await open_wire(port, "smtps://localhost:{}")

    run(main())


def test_rel_h77_a_wrong_password_is_auth_failed(run: Run) -> None:
    server = Aiosmtpd(auth_require_tls=False)

    async def main() -> None:
        async with server as port:
            with pytest.raises(ConnectFailed) as failed:
                await open_wire(port, "smtp://user:wrong@127.0.0.1:{}?starttls=never")
            assert failed.value.reason == "auth_failed"
            assert failed.value.reply is not None
            assert failed.value.reply.code == 535
            assert "wrong" not in str(failed.value)

    run(main())
    assert server.taken == []
