"""From a claimed position to the bytes on the wire: links, the sentence why, the assembler. Previews and tests use the same.

Called by the sender for every message, by announcements and notices for previews. What a mailing's messages share is made
once per mailing and language (`Composer`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, cast
from zoneinfo import ZoneInfo

from sqlmodel import Session

from service.config import Settings
from service.domain.brands import queries as brands
from service.domain.brands.tables import Brand
from service.domain.deliveries.queries import Member
from service.domain.links import rules as links
from service.domain.mailings import rules as mailings
from service.domain.mailings.actions import new_mailing
from service.domain.mailings.queries import domains, open_facts
from service.domain.mailings.tables import Mailing
from service.domain.people import queries as people
from service.domain.people.tables import Person
from service.domain.preferences import queries as preferences
from service.domain.templates import queries as templates
from service.domain.templates.tables import TemplateVersion
from service.domain.topics import queries as topics
from service.domain.topics.tables import Topic
from service.kit import addresses
from service.kit.signing import Keyring
from service.mail import dkim, letters, message, starters
from service.mail.loaded import LoadedMail, Rendered

SAMPLE_LINK = "/lost-link"  # where the links of previews and test mails lead: they stop nobody
READER_LINKS = (
    ("stop_url", "u", links.STOP),
    ("manage_url", "p", links.PREFERENCES),
    ("why_url", "why", links.WHY),
)
SYSTEM_LINKS = (
    ("confirm_url", "confirm", links.CONFIRM),
    ("sign_in_url", "me/enter", links.SIGN_IN),
    ("manage_url", "p", links.PREFERENCES),
)


class Sendable(NamedTuple):
    """One message ready for the wire."""

    mail_from: str
    rcpt: str
    data: bytes
    dotted: bool  # as `message.Assembled` says
    message_id: str


@dataclass(frozen=True)
class Sender:
    """Who writes: the addresses of one brand and mailbox, as the headers need them."""

    name: str
    address: str
    reply_to: str
    look: letters.BrandLook


def sender_of(brand: Brand, mailbox: str, base_url: str) -> Sender:
    """The sender's face for one mailbox of a brand."""
    return Sender(
        brand.title,
        brands.from_address(brand, mailbox),
        brands.reply_to(brand),
        templates.look(brand, base_url),
    )


class Composer:
    """Makes the messages of one mailing, signed when there is a `key`. Made by the sender for one batch, at its claim (`now`);
    holds nothing about any person."""

    def __init__(
        self,
        settings: Settings,
        ring: Keyring,
        mailing: Mailing,
        topic: Topic | None,
        names: Mapping[str, str],
        brand: Brand,
        contents: Mapping[str, TemplateVersion],
        key: dkim.Key | None = None,
        *,
        now: datetime,
    ) -> None:
        self.ring, self.mailing, self.topic, self.names = ring, mailing, topic, names
        # What every message asks for is read from the rows once: an attribute of a row costs a third of a microsecond.
        self._mailing_id, self._mailing_alias = mailing.id, mailing.alias
        self._topic_alias, self._basis = (topic.alias, topic.basis) if topic else (0, "")
        self._since = mailing.created_at  # for who gave no consent of their own
        self._sent_at = int((mailing.started_at or now).timestamp())
        self._signed_at = int(now.timestamp())
        self.base = settings.base_url
        self.loopback = settings.is_loopback
        self.mailto = settings.inbound_mailbox
        self.sender = sender_of(brand, topic.mailbox if topic else "accounts", settings.base_url)
        self.domains = domains(mailing, brand)
        self.contents, self.key = contents, key
        self._links = _links(mailing)
        self._assemblers: dict[str, message.Assembler] = {}

    def compose(self, member: Member) -> Sendable:
        """The message of one position. Raises `RenderError` or `HeaderInjection` for this position alone."""
        assert self._mailing_id is not None
        locale = self._locale(member.locale)
        message_id = self.message_id(member.pos)
        urls = self._urls(member)
        recipient = message.Recipient(
            address=member.address,
            message_id=message_id,
            sent_at=self._sent_at,
            values=self._values(member, locale, urls),
            unsubscribe_url=urls.get("stop_url"),
            mailto_unsubscribe=self._mailto(urls),
        )
        made = self._assembler(locale).assemble(recipient)
        bounce = mailings.envelope_sender(
            self.ring.message_key, self._mailing_id, member.pos, self.domains.bounces
        )
        return Sendable(bounce, member.address, made.data, made.dotted, message_id)

    def message_id(self, pos: int) -> str:
        """The Message-ID of a position, the same on every attempt."""
        assert self._mailing_id is not None
        return mailings.message_id(self.ring.message_key, self._mailing_id, pos, self.domains.ids)

    def _locale(self, wanted: str) -> str:
        return best_locale(self.contents or starters.system_mail(self.mailing.purpose).subject, wanted)

    def _assembler(self, locale: str) -> message.Assembler:
        if locale not in self._assemblers:
            mail = self._system_mail(locale) if not self.contents else loaded(self.contents[locale])
            sign = dkim.Signer(self.key, at=self._signed_at) if self.key else None
            self._assemblers[locale] = message.Assembler(self._facts(locale), mail, sign=sign)
        return self._assemblers[locale]

    def _system_mail(self, locale: str) -> LoadedMail:
        return letters.load(_system(self.mailing.purpose, locale, self.sender.look))

    def _facts(self, locale: str) -> message.MailingFacts:
        topic = self.topic
        triggered = self.mailing.kind == "notice"
        return message.MailingFacts(
            mail_class=cast(letters.MailClass, self.mailing.mail_class),
            locale=locale,
            from_name=self.sender.name,
            from_address=self.sender.address,
            reply_to=self.sender.reply_to,
            topic=topic.slug if topic else "",
            topic_name=self._topic_name(locale),
            list_domain=self.sender.address.rpartition("@")[2],
            campaign=self.mailing.public_id.replace("_", "-"),
            help_url=f"{self.base}/contact" if topic else "",
            owner_address=self.sender.reply_to,
            triggered=triggered,
            loopback=self.loopback,
        )

    def _topic_name(self, locale: str) -> str:
        return (
            self.names.get(locale)
            or self.names.get(starters.language(locale))
            or self.names.get("en")
            or next(iter(self.names.values()), "")
        )

    def _urls(self, member: Member) -> dict[str, str]:
        """The links of this mail. Those of a test or of a mail to staff are samples that act on nobody."""
        if not member.alias:
            sample = f"{self.base}{SAMPLE_LINK}"
            return {name: sample for name, _, _ in (*READER_LINKS, *SYSTEM_LINKS)}
        topic, mailing = self._topic_alias, self._mailing_alias
        return {
            name: f"{self.base}/{path}/"
            + links.write(links.Link(purpose, member.alias, topic, mailing, member.pos), self.ring.link_keys)
            for name, path, purpose in self._links
        }

    def _mailto(self, urls: Mapping[str, str]) -> str | None:
        """RFC 2369 3.2: the address read by machine, with the token in the subject; only where such a mailbox is set."""
        if not self.mailto or "stop_url" not in urls:
            return None
        return f"{self.mailto}?subject=stop%20{urls['stop_url'].rpartition('/')[2]}"

    def _values(self, member: Member, locale: str, urls: Mapping[str, str]) -> dict[str, Any]:
        values: dict[str, Any] = {**member.values, **urls}
        values["to_address_masked"] = addresses.parse_stored(member.address).masked
        if self.topic is not None:
            values["why_line"] = self._why(member, locale)
            if self.mailing.kind == "test":  # goes to staff, with the values of the reader it stands for
                values = {**open_facts(self.ring, self.mailing.purpose, self.mailing.facts or {}), **values}
        if self.mailing.kind == "system":
            values |= _system_values(self.mailing, self.ring, self.base)
            values["topic_names"] = self._topic_name(locale)
        return values

    def _why(self, member: Member, locale: str) -> str:
        since = member.consent_since or self._since
        zone = ZoneInfo(member.zone) if member.zone else ZoneInfo("UTC")
        return starters.why_line(
            locale=locale,
            topic_name=self._topic_name(locale),
            basis=member.basis or self._basis,
            on=since.astimezone(zone).date(),
        )


def _links(mailing: Mailing) -> tuple[tuple[str, str, int], ...]:
    """The links of its mails. One that asks under a topic has a button, and can be stopped."""
    if mailing.kind != "system":
        return READER_LINKS
    return SYSTEM_LINKS if mailing.topic_id is None else (*READER_LINKS, SYSTEM_LINKS[0])


def best_locale(contents: Mapping[str, object], wanted: str) -> str:
    """Of the languages a mailing has: the one wanted, its language, English, or the first."""
    language = starters.language(wanted)
    for choice in (wanted, language, "en"):
        if choice in contents:
            return choice
    return next(iter(contents))


def loaded(version: TemplateVersion) -> LoadedMail:
    """A stored version, compiled once per process."""
    parts = {
        "subject": version.subject,
        "preheader": version.preheader,
        "html": version.html,
        "text": version.text,
    }
    return letters.load(letters.stored(**parts, fields=version.fields, sha256=version.sha256))


@lru_cache(maxsize=128)
def _system(name: str, locale: str, look: letters.BrandLook) -> letters.CompiledMail:
    return letters.build_system(name, locale=locale, brand=look)


def _system_values(mailing: Mailing, ring: Keyring, base: str) -> dict[str, Any]:
    """What the text of a system mail needs beside its links: its facts, sealed ones opened."""
    facts = open_facts(ring, mailing.purpose, mailing.facts or {})
    values = {key: value for key, value in facts.items() if isinstance(value, str)}
    values["minutes"] = "30"
    values["page_url"] = f"{base}/contact"
    if token := values.pop("token", None):
        values["invite_url"] = f"{base}/staff/start/{token}"
    return values


SAMPLE_ADDRESS = "ana@example.org"
SAMPLE = {
    "first_name": "Ana",
    "last_name": "Ruiz",
    "company": "Example Ltd",
}  # the reader of a preview as nobody


def preview(
    session: Session,
    ring: Keyring,
    settings: Settings,
    mail: letters.CompiledMail,
    topic: Topic,
    locale: str,
    person: Person | None,
    *,
    now: datetime,
) -> Rendered:
    """A mail as one person would get it, or a sample reader; its links are samples that act on nobody.

    Raises `RenderError` where a field without fallback has no value for that person. The door that shows a person's mail
    writes down that it was read.
    """
    mailing = new_mailing(
        kind="test",
        mail_class=topic.mail_class,
        brand_id=topic.brand_id,
        state="sending",
        now=now,
        valid_until=now,
    )
    composer = Composer(
        settings,
        ring,
        mailing,
        topic,
        _topic_names(session, topic),
        brands.by_id(session, topic.brand_id),
        {},
        now=now,
    )
    member = Member(1, 1, None, 0, "", 0, SAMPLE_ADDRESS, locale, "", None, {})
    if person is not None:
        member = _reader(session, ring, person, topic, locale)
    values = composer._values(member, locale, composer._urls(member))
    return letters.load(mail).render({**reader_values(session, ring, person, mail.fields), **values})


def _topic_names(session: Session, topic: Topic) -> dict[str, str]:
    assert topic.id is not None
    return {
        language: wording.title for language, wording in topics.current_wordings(session, topic.id).items()
    }


def reader_values(
    session: Session, ring: Keyring, person: Person | None, fields: Iterable[str]
) -> dict[str, str]:
    """The merge fields of one person, or of the sample reader."""
    if person is None:
        return {name: SAMPLE.get(name, name) for name in fields}
    assert person.id is not None
    values = {name: ", ".join(found) for name, found in people.attributes(session, person.id).items()}
    for opened in people.profiles(session, ring, person)[-1:]:
        values |= opened.profile
    return {name: values[name] for name in fields if name in values}


def _reader(session: Session, ring: Keyring, person: Person, topic: Topic, locale: str) -> Member:
    """One person as a member, without the alias that would make the links theirs."""
    assert person.id is not None
    given = preferences.of_person(session, person.id).get(topic.id or 0)
    address = people.address_of(session, ring, person)
    since = given.since_at if given else None
    shown = address.text if address else SAMPLE_ADDRESS
    return Member(1, 1, None, 0, person.public_id, 0, shown, locale, person.zone, since, {})
