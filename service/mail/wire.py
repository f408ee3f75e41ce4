"""One SMTP connection after EHLO: our own protocol, which pipelines and knows the phase of every reply.

Payload and dot of letter n and MAIL, RCPT, DATA of letter n+1 go in one write, one round trip a letter (RFC 2920); a server
without PIPELINING gets the same commands one at a time. Only `transport` makes and drives a wire.
"""

import asyncio
import fcntl
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from service.kit import failpoints
from service.mail.envelope import Facts, Letter, Outcome, Prepared, prepare
from service.mail.replies import Reply

Step = Literal["mail", "rcpt", "data", "dot", "rset", "void"]
"""What a reply is awaited to; `void` is the dot of a letter without recipient."""

_PHASES: tuple[Literal["mail", "rcpt", "data"], ...] = ("mail", "rcpt", "data")
_LEADS = {"rset": b"RSET\r\n", "void": b".\r\n"}  # RFC 2920 section 3.1: DATA was taken, no recipient was
_OK = (250, b"")
# A yes where only 354 or a no can stand: the replies are out of step with the commands.
_SHIFTED = frozenset({250, 251, 252})
_REPLY_LIMIT = 64 * 1024
_SIOCOUTQ, _SIOCOUTQNSD = 0x5411, 0x894B  # Linux: bytes not yet acknowledged, bytes not yet sent


@dataclass(frozen=True)
class Timeouts:
    """Seconds to wait in each phase; the defaults are the least that RFC 5321 section 4.5.3.2 asks for."""

    greeting: float = 300.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0
    dot: float = 600.0
    quit: float = 5.0


@dataclass(frozen=True, slots=True)
class Errand:
    """The sender's four functions for one run of `deliver`."""

    next_letter: Callable[[], Letter | None]
    may_depart: Callable[[Letter], bool]
    marked: Callable[[Letter], None]
    done: Callable[[Letter, Outcome], None]


class Wire(asyncio.Protocol):
    """One connection. Letters travel by `deliver`; once `closed`, the rest needs a new wire."""

    def __init__(self, transport: asyncio.Transport, facts: Facts, timeouts: Timeouts) -> None:
        self.facts = facts
        self.carried = 0  # letters whose dot was answered
        self.given_up = False  # reset for no fault of the server's
        self.stalled = False  # ended because it took too long, while no dot was on its way
        tls = transport.get_extra_info("ssl_object")
        self.tls_version: str | None = tls and tls.version()
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._seconds = {**asdict(timeouts), "rset": timeouts.mail, "void": timeouts.dot}
        self._errand: Errand | None = None
        self._finished: asyncio.Future[None] | None = None
        self._lost = self._loop.create_future()
        self._following: Prepared | None = None  # taken, nothing written
        self._announced: Prepared | None = None  # its MAIL was written, its payload not
        self._departed: Letter | None = None  # its dot was written
        self._awaited: list[Step] = []
        self._answers: list[tuple[int, bytes]] = []
        self._tail = b""
        self._continued: list[bytes] = []  # the lines so far of a reply of several lines
        self._held = self._unsent = 0  # bytes: theirs; ours that the transport has not passed on
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = self._timer_at = 0.0

    @property
    def closed(self) -> bool:
        """Whether no further letter can go this way."""
        return self._lost.done() or self._transport.is_closing()

    @property
    def busy(self) -> bool:
        """Whether a letter is under way: announced, or its dot not answered."""
        return self._announced is not None or self._departed is not None

    def in_flight(self) -> list[Letter]:
        """The letters whose dot is written and whose reply is not here yet (at most one)."""
        return [self._departed] if self._departed is not None and not self._answers else []

    def unsent_bytes(self) -> int:
        """Bytes written here that the kernel may not have put on the network yet.

        Under TLS nobody can see what the layer between holds back, and it may hold some though the kernel has none left: while a
        reply is waited for, the answer is "some".
        """
        waiting = self._transport.get_write_buffer_size() + bool(self.tls_version and self.in_flight())
        sock = self._transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return waiting
        try:
            asked = fcntl.ioctl(sock.fileno(), _SIOCOUTQ if self.tls_version else _SIOCOUTQNSD, bytes(4))
            return waiting + int.from_bytes(asked, "little")
        except OSError:  # not Linux: nobody can say, so the answer is "some"
            return waiting + 1

    def abort(self, *, given_up: bool = False) -> None:
        """Reset the connection: what the kernel holds is thrown away; letters are reported now, `wait_closed` says when it is gone."""
        self.given_up |= given_up
        self._transport.abort()
        self._settle()

    async def wait_closed(self) -> None:
        """Return once the socket is closed."""
        await asyncio.shield(self._lost)

    async def close(self) -> None:
        """Say QUIT and close (RFC 5321 section 4.1.1.10); not while letters travel."""
        if not self.closed:
            self._transport.write(b"QUIT\r\n")
            try:
                # Not `wait_for`: called off in the moment in which its wait ends, it forgets that (Python 3.11).
                async with asyncio.timeout(self._seconds["quit"]):
                    await self.wait_closed()
            except TimeoutError:
                self.abort()
        await self.wait_closed()

    async def carry(self, errand: Errand) -> None:
        """Run one errand to its end; see `deliver`."""
        if self._errand is not None:
            raise RuntimeError("This wire is already carrying letters.")
        if self.closed:
            return
        self._errand = errand
        self._finished = self._loop.create_future()
        try:
            self._announce()
            await asyncio.shield(self._finished)
        except BaseException:  # cancelled, or one of the sender's functions failed
            self.abort()
            raise
        finally:
            self._errand = self._finished = None

    # What arrives

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        try:
            self._read(data)
        except Exception as error:  # of the sender's functions: drop the connection, let `carry` raise it
            self._fail(error)

    def eof_received(self) -> None:
        """Nobody answers any more what is not written yet; closing would wait for a server to take it that may never do so."""
        if self._transport.get_write_buffer_size():
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        if self._timer is not None:
            self._timer.cancel()
        if not self._lost.done():
            self._lost.set_result(None)

    def _read(self, data: bytes) -> None:
        """Take in reply lines; once every reply to the last write is here and nothing more, judge them."""
        lines = (self._tail + data if self._tail else data).split(b"\n")
        self._tail = lines.pop()
        for line in lines:
            if not line[:3].isdigit() or len(line) < 3 or line[3:4] not in b" -\r":
                return self._distrust()
            if self._continued and self._continued[0][:3] != line[:3]:
                return self._distrust()
            if line[3:4] == b"-":
                self._continued.append(line)
                self._held += len(line)
                continue
            self._answers.append((int(line[:3]), self._whole(line)))
            if line[:3] == b"421":  # the server closes (RFC 5321 section 3.8), asked or not
                return self.abort()
        if self._held + len(self._tail) > _REPLY_LIMIT:
            return self._distrust()
        left = len(self._awaited) - len(self._answers)
        if left > 0:
            return self._expect(self._awaited[-left])
        if left < 0 or self._tail or self._continued or not self._awaited:
            return self._distrust()
        self._turn()

    def _whole(self, last: bytes) -> bytes:
        """The text of a reply whose last line just came (RFC 5321 section 4.2.1)."""
        if not self._continued:
            return last[4:]
        text = b"\n".join([line[4:].rstrip(b"\r") for line in self._continued] + [last[4:]])
        self._continued, self._held = [], 0
        return text

    def _distrust(self) -> None:
        """The replies cannot be matched to commands (any more): believe none of them, drop the connection."""
        self._answers = []
        self.abort()

    def _fail(self, error: Exception) -> None:
        if self._finished is not None and not self._finished.done():
            self._finished.set_exception(error)
        self.abort()

    # What it means

    def _turn(self) -> None:
        """All replies to the last write are here: report them, then make the next write."""
        answers = dict(zip(self._awaited, self._answers, strict=True))
        data = answers["data"][0] if "data" in answers else 0
        if data in _SHIFTED or any(code == 354 for step, (code, _) in answers.items() if step != "data"):
            return self._distrust()
        if self._transport.get_write_buffer_size():
            return self._distrust()  # answered before it was sent
        if (data and data != 354 and data // 100 not in (4, 5)) or answers.get("rset", _OK)[0] // 100 != 2:
            return self.abort()  # reports what was answered; nobody can tell what the server waits for now
        self._awaited, self._answers = [], []
        errand = self._errand
        assert errand is not None
        if "dot" in answers and self._departed is not None:
            departed, self._departed = self._departed, None
            self.carried += 1
            errand.done(departed, Outcome("replied", _reply(answers["dot"]), "dot"))
        if self._announced is None:
            return self._announce()
        refusal = _refusal(answers)
        if refusal is not None:
            refused, self._announced = self._announced.letter, None
            errand.done(refused, refusal)
            return self._announce("void" if data == 354 else "rset")
        if data:
            return self._depart(errand, self._announced)
        self._step_on(errand, self._announced, "mail" in answers)

    def _settle(self) -> None:
        """The connection is gone: report every letter it held, by the replies that came before."""
        answers = dict(zip(self._awaited, self._answers, strict=False))
        departed, announced, following = self._departed, self._announced, self._following
        self._departed = self._announced = self._following = None
        self._awaited, self._answers = [], []
        errand, finished = self._errand, self._finished
        if errand is None or finished is None:
            return
        ends: list[tuple[Letter, Outcome]] = []
        if departed is not None:
            reply = _reply(answers["dot"]) if "dot" in answers else None
            self.carried += reply is not None
            ends.append((departed, Outcome("replied" if reply else "unknown", reply, "dot")))
        if announced is not None:
            refusal = None if self._enough(answers) else _refusal(answers)
            ends.append((announced.letter, refusal or Outcome("not_sent", None, "mail")))
        if following is not None:
            ends.append((following.letter, Outcome("not_sent", None, "mail")))
        for letter, outcome in ends:  # each is told of, whatever comes of telling of another
            try:
                errand.done(letter, outcome)
            except Exception as error:
                if not finished.done():
                    finished.set_exception(error)
        if not finished.done():
            finished.set_result(None)

    def _enough(self, answers: dict[Step, tuple[int, bytes]]) -> bool:
        """Whether a connection that served well was ended: 421 to MAIL then says nothing of that letter."""
        return self.carried > 0 and "mail" in answers and answers["mail"][0] == 421

    # What is written

    def _take(self, errand: Errand) -> Prepared | None:
        """The next letter that may be announced; those that may not are reported here."""
        while not self.closed and (letter := errand.next_letter()) is not None:
            prepared = prepare(letter, self.facts)
            if isinstance(prepared, Reply):
                errand.done(letter, Outcome("not_sent", prepared, "local"))
            elif not errand.may_depart(letter):
                errand.done(letter, Outcome("withheld", None, "mail"))
            else:
                return prepared
        return None

    def _announce(self, lead: Literal["rset", "void"] | None = None) -> None:
        """Write the next letter's commands, after `lead` where the last one was refused; or rest."""
        errand, finished = self._errand, self._finished
        assert errand is not None
        assert finished is not None
        opening, steps = _LEADS[lead] if lead else b"", list[Step]([lead] if lead else [])
        if lead and not self.facts.pipelining:
            return self._write([opening], steps)
        self._announced = self._take(errand)
        if self._announced is not None:
            commands, more = self._commands(self._announced)
            self._write([opening + commands], steps + more)
        elif opening:
            self._write([opening], steps)
        elif not finished.done():
            finished.set_result(None)

    def _commands(self, prepared: Prepared) -> tuple[bytes, list[Step]]:
        if self.facts.pipelining:
            return prepared.mail + prepared.rcpt + b"DATA\r\n", ["mail", "rcpt", "data"]
        return prepared.mail, ["mail"]

    def _step_on(self, errand: Errand, announced: Prepared, mail_taken: bool) -> None:
        """Without PIPELINING: the next command, while DATA can still be left unsaid."""
        if mail_taken:
            self._write([announced.rcpt], ["rcpt"])
        elif errand.may_depart(announced.letter):
            self._write([b"DATA\r\n"], ["data"])
        else:
            self._announced = None
            errand.done(announced.letter, Outcome("withheld", None, "rcpt"))
            self._announce("rset")

    def _depart(self, errand: Errand, leaving: Prepared) -> None:
        """The one write that holds a dot: payload n, dot, and the commands of letter n+1."""
        parts, steps = [*leaving.payload], list[Step](["dot"])
        if self.facts.pipelining:
            self._following = self._take(errand)
        if self._following is not None:
            commands, more = self._commands(self._following)
            parts.append(commands)
            steps += more
        # From the check to the write nothing may come between: no await, no other function of the sender's.
        may_depart = errand.may_depart(leaving.letter)
        if self.closed:  # by one of the sender's functions, just now
            return self._settle()
        if not may_depart:
            self._announced = None
            errand.done(leaving.letter, Outcome("withheld", None, "data"))
            return self.abort(given_up=True)
        errand.marked(leaving.letter)
        self._departed, self._announced, self._following = leaving.letter, self._following, None
        self._write(parts, steps)
        failpoints.hit("dot.after")

    def _write(self, parts: list[bytes], steps: list[Step]) -> None:
        if self.closed:
            return self._settle()
        self._awaited = steps
        failpoints.hit(steps[0])
        self._transport.writelines([b"".join(parts)] if self.tls_version else parts)  # a TLS record for all
        self._unsent = self._transport.get_write_buffer_size()
        self._expect("block" if self._unsent else steps[0])

    # How long it may take

    def _expect(self, step: Step | Literal["block"]) -> None:
        """Wait for the reply to `step`, or for the transport to take more, as long as the phase allows."""
        self._deadline = self._loop.time() + self._seconds[step]
        if self._timer is None or self._deadline < self._timer_at:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._watch)

    def _watch(self) -> None:
        """The timer is one for the whole connection and mostly early; only a passed deadline counts."""
        self._timer = None
        if not self._awaited or self.closed:
            return
        if self._loop.time() < self._deadline:
            return self._arm()
        unsent = self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._unsent = unsent
            return self._expect("block" if unsent else self._awaited[0])
        self.stalled = self._departed is None
        self.abort()


def _reply(answer: tuple[int, bytes]) -> Reply:
    return Reply.of(answer[0], answer[1].decode("utf-8", "replace").strip())


def _refusal(answers: dict[Step, tuple[int, bytes]]) -> Outcome | None:
    """The first of MAIL, RCPT, DATA that the server answered with a no."""
    for phase in _PHASES:
        answer = answers.get(phase)
        if answer is not None and answer[0] // 100 != (3 if phase == "data" else 2):
            return Outcome("replied", _reply(answer), phase)
    return None
