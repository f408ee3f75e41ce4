"""A claimed batch in a sender's hands: who is still to be sent, who is held for a busy domain, what came of the others.

Made and asked by the sender alone.
"""

import logging
import re
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from scheduler.journal import Journal
from scheduler.pace import Later, Pace
from service.domain.deliveries import claims
from service.domain.deliveries.compose import Composer
from service.domain.deliveries.queries import ASKING, Member, opened
from service.domain.deliveries.rules import Result
from service.domain.mailings.rules import questions
from service.domain.people.queries import MasterUnknown
from service.kit import logs
from service.kit.sealing import Unsealable
from service.mail.replies import Reply, classify
from service.mail.transport import Outcome
from service.ops.house import House

log = logging.getLogger("bidden.sender")
LATER = 60.0  # seconds until somebody is tried again whose master the ring lacks, or for whose mail there was no memory


@dataclass(eq=False)
class Work:
    """One batch. It is done when every position has its result."""

    claimed: claims.Claimed
    composer: Composer
    until: float  # monotonic: after that its permissions are too old to send on
    journal: Journal  # takes its lines
    waiting: deque[Member] = field(default_factory=deque)
    held: dict[str, deque[Member]] = field(default_factory=dict)  # by lane, as `pace` names them
    results: list[Result] = field(default_factory=list)
    out: int = 0
    keyless: bool = False  # that the ring lacks a master is said once

    @property
    def done(self) -> bool:
        """Whether every position has its result."""
        return not self.waiting and not self.out and not self.held

    @property
    def mailing(self) -> int | None:
        """The number of its mailing, None of a single mail's."""
        return self.claimed.mailing.id if self.claimed.mailing.topic_id is not None else None

    @property
    def named(self) -> str:
        """What it is taken away by: its mailing, or the round of a mail that asks."""
        mailing, topic = self.claimed.mailing, self.claimed.topic
        about = ASKING.get(mailing.purpose)
        return questions(topic.slug, about) if topic and about else mailing.public_id

    @property
    def held_up(self) -> bool:
        """Whether nothing more of it can be taken in hand now: what is left waits for busy domains or for answers."""
        return not self.waiting and not self.done

    def next(self, pace: Pace, moment: float) -> Member | None:
        """The next member whose domain takes a letter now; those that must wait for longer get their result here."""
        for domain in list(self.held):
            if member := self._next_held(domain, pace, moment):
                return member
        while self.waiting:
            member = self._opened(self.waiting.popleft())
            if member is None:
                continue
            if not pace.lanes:
                return member
            domain = pace.lane_of(member.address)
            word = pace.admit(domain, moment)
            if isinstance(word, Later):
                self._put_off(member, word)
            elif word:
                return member
            else:
                self.held.setdefault(domain, deque()).append(member)
                pace.hold(domain, 1)
        return None

    def _opened(self, member: Member) -> Member | None:
        """The member in clear; whom no key opens gets that for a result. Whose master the ring has not was not erased: they wait
        until this machine or another has the right ring."""
        try:
            return opened(self.composer.ring, member)
        except MasterUnknown:
            if not self.keyless:
                log.error("the key ring has not the master of some people, who wait: bidden doctor")
            self.keyless = True
            self.results.append(Result(member.pos, member.attempt, "reclaim", wait=LATER))
            return None
        except Unsealable:
            self.results.append(Result(member.pos, member.attempt, "skipped", "erased"))
            return None

    def _next_held(self, domain: str, pace: Pace, moment: float) -> Member | None:
        line, found = self.held[domain], None
        while line and found is None:
            word = pace.admit(domain, moment, held=True)
            if word is False:
                return None
            member = line.popleft()
            pace.hold(domain, -1)
            if isinstance(word, Later):
                self._put_off(member, word)
            else:
                found = member
        if not line:
            del self.held[domain]
        return found

    def give_back(self, pace: Pace) -> None:
        """Whoever is not sent yet goes back to the database as if never claimed."""
        for domain, line in self.held.items():
            pace.hold(domain, -len(line))
            self.waiting.extend(line)
        self.held.clear()
        while self.waiting:
            member = self.waiting.popleft()
            self.results.append(Result(member.pos, member.attempt, "reclaim"))

    def _put_off(self, member: Member, word: Later) -> None:
        self.results.append(Result(member.pos, member.attempt, "reclaim", word.reason, wait=word.seconds))


def take_up(house: House, claimed: claims.Claimed, until: float, journal: Journal, *, now: datetime) -> Work:
    """A batch just claimed, with what makes its mails, and the journal for its lines."""
    composer = Composer(
        house.settings,
        house.ring,
        claimed.mailing,
        claimed.topic,
        claimed.names,
        claimed.brand,
        claimed.contents,
        claimed.key,
        now=now,
    )
    return Work(
        claimed, composer, until, journal, deque(one for one in claimed.members if one.refusal is None)
    )


def result(member: Member, message_id: str, outcome: Outcome) -> Result:
    """What the wire said of a letter, as the outcome row will say it. The server's words are kept without names."""
    if outcome.kind == "withheld":
        return Result(member.pos, member.attempt, "reclaim")
    if outcome.kind == "unknown":
        return Result(member.pos, member.attempt, "unknown", "no_reply", message_id=message_id)
    verdict = classify(outcome.reply, outcome.phase)
    reply: Reply | None = outcome.reply
    return Result(
        member.pos,
        member.attempt,
        verdict.state,
        "" if verdict.state == "sent" else verdict.reason,
        code=reply.code if reply else None,
        reply=_nameless(reply.text, member.address) if reply else "",
        suppress=verdict.suppress,
        message_id=message_id,
    )


def _nameless(said: str, address: str) -> str:
    """A server's words without addresses, and without this one's local part, which many repeat alone or within a link: an outcome
    is never changed nor removed, so an erasure could not take it out."""
    local = address.rpartition("@")[0]
    bare, names = local.partition("+")[0], ""
    # Seldom so: a pattern for each person cost a fifth of the sender's time.
    if bare.casefold() in said.casefold():
        names = "|".join(re.escape(one) for one in (local, bare) if one)
    return logs.mask(re.sub(rf"(?<!\w)(?:{names})(?!\w)", "…", said, flags=re.IGNORECASE) if names else said)
