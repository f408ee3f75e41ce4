"""The captured inbox takes mail over real SMTP and passes none on."""

import asyncio
import smtplib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from service.inbox import Captured, serve


def captured(
    send: Callable[[smtplib.SMTP], Any], keep: Callable[[Captured], None], listen: str = "127.0.0.1:0"
) -> Any:
    """Run an inbox, let `send` talk to it, stop it."""

    async def main() -> Any:
        ready: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(
            serve(listen, keep, ready=lambda host, port: ready.set_result((host, port)))
        )
        try:
            async with asyncio.timeout(20):
                host, port = await ready
                return await asyncio.to_thread(_talk, host, port, send)
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    return asyncio.run(main())


def _talk(host: str, port: int, send: Callable[[smtplib.SMTP], Any]) -> Any:
    with smtplib.SMTP(host, port, timeout=10) as client:
        return send(client)


MAIL = b"Subject: =?utf-8?q?hi?=\r\nMessage-ID: <1@example.org>\r\n\r\n.\r\n..two\r\nlast\r\n"


def test_a_mail_is_kept_byte_for_byte_in_a_thread() -> None:
    kept: list[Captured] = []
    threads: set[int] = set()

    def keep(mail: Captured) -> None:
        threads.add(threading.get_ident())
        kept.append(mail)

    captured(lambda c: c.sendmail("b+1@example.org", ["a@example.org"], MAIL), keep)
    (mail,) = kept
    assert (mail.mail_from, mail.rcpt, mail.data) == ("b+1@example.org", "a@example.org", MAIL)
    assert mail.at.tzinfo is not None
    assert threads != {threading.get_ident()}


def test_each_recipient_gets_a_copy_and_a_null_sender_is_empty() -> None:
    kept: list[Captured] = []
    captured(lambda c: c.sendmail("", ["a@example.org", "b@example.org"], MAIL), kept.append)
    assert [(mail.mail_from, mail.rcpt) for mail in kept] == [("", "a@example.org"), ("", "b@example.org")]


def test_utf8_addresses_are_taken() -> None:
    kept: list[Captured] = []

    def send(client: smtplib.SMTP) -> None:
        client.ehlo()
        assert client.has_extn("smtputf8")
        assert client.has_extn("8bitmime")
        client.sendmail(
            "b@example.org", ["жуков@example.org"], MAIL, mail_options=["SMTPUTF8", "BODY=8BITMIME"]
        )

    captured(send, kept.append)
    assert kept[0].rcpt == "жуков@example.org"


def test_what_could_not_be_kept_is_not_acknowledged() -> None:
    def keep(mail: Captured) -> None:
        raise OSError("disk full at /secret/place")

    def send(client: smtplib.SMTP) -> smtplib.SMTPDataError:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            client.sendmail("b@example.org", ["a@example.org"], MAIL)
        return refused.value

    error = captured(send, keep)
    assert error.smtp_code == 451
    assert b"secret" not in error.smtp_error


@pytest.mark.parametrize(
    "listen", ["", "1025", "localhost", "localhost:", ":1025", "localhost:x", "localhost:70000"]
)
def test_a_malformed_address_is_refused(listen: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        asyncio.run(serve(listen, lambda mail: None))
