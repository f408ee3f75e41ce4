"""What a new database begins with: a brand, three topics with their wordings, a policy, the usual attributes,
the pictures of the starters.

Called after every upgrade and by the tests; what is there already stays as it is.
"""

from datetime import datetime

from sqlmodel import Session

from service.db.locks import insert_or_skip, lock_ledger_tail
from service.domain.brands import actions as brands
from service.domain.brands import queries as brand_queries
from service.domain.people.tables import AttributeKind
from service.domain.policies import actions as policies
from service.domain.policies import queries as policy_queries
from service.domain.policies.rules import PolicyText
from service.domain.templates import actions as templates
from service.domain.topics import actions as topics
from service.domain.topics import queries as topic_queries
from service.domain.topics.rules import WordingText
from service.kit.places import templates_dir
from service.kit.signing import Keyring
from service.mail import starters
from service.ops import profile

BY = "system"
POLICY = "privacy"

# slug, class, lawful basis, sender's mailbox, wordings of version 1
TOPICS = (
    (
        "updates",
        "notice",
        "consent",
        "updates",
        {
            "en": WordingText(
                "Updates",
                "When something changes, about once a week",
                "Tell me when something in the products I use changes or gets better. I can stop any time.",
            ),
            "de": WordingText(
                "Neuerungen",
                "Wenn sich etwas ändert, etwa einmal in der Woche",
                "Schreiben Sie mir, wenn sich an den Produkten, die ich nutze, etwas ändert oder verbessert."
                " Ich kann das jederzeit beenden.",
            ),
        },
    ),
    (
        "new-products",
        "marketing",
        "consent",
        "news",
        {
            "en": WordingText(
                "New products",
                "Launches, about two a month",
                "Send me news about new products, about twice a month. I can stop any time.",
            ),
            "de": WordingText(
                "Neue Produkte",
                "Neuheiten, etwa zwei im Monat",
                "Schicken Sie mir Nachrichten über neue Produkte, etwa zweimal im Monat."
                " Ich kann das jederzeit beenden.",
            ),
        },
    ),
    (
        "important-notices",
        "service",
        "contract",
        "service",
        {
            "en": WordingText(
                "Important notices",
                "Only when it must be, a few times a year",
                "While I use the service I am told of security matters, outages and changes of terms."
                " No advertising.",
            ),
            "de": WordingText(
                "Wichtige Hinweise",
                "Nur wenn es sein muss, wenige Male im Jahr",
                "Solange ich den Dienst nutze, erfahre ich von Sicherheitsfragen, Ausfällen und"
                " geänderten Bedingungen. Keine Werbung.",
            ),
        },
    ),
)

# name, type, what it is for
ATTRIBUTES = (
    ("plan", "text", "To tell those whose plan a change concerns."),
    (
        "country",
        "text",
        "To follow the law of the reader's country, and for offers that hold in some countries only.",
    ),
    ("role", "text", "To write about a part of the product only to those who work with it."),
)


def seed(session: Session, ring: Keyring, *, now: datetime) -> None:
    """Put in what is missing. Two processes starting together do it one after the other."""
    lock_ledger_tail(session)
    _brand(session, now)
    _topics(session, now)
    _policy(session, now)
    rows = [
        {"name": name, "type": kind, "purpose": purpose, "declared_at": now}
        for name, kind, purpose in ATTRIBUTES
    ]
    session.connection().execute(insert_or_skip(session, AttributeKind, ["name"]), rows)
    for picture in starters.pictures():
        templates.ship_media(session, picture, now=now)
    if policy_queries.profile(session) is None:  # what changes later is the clock's
        profile.keep(session, now=now)


def _brand(session: Session, now: datetime) -> None:
    if not brand_queries.everyone(session):
        brands.create(
            session,
            brand_queries.DEFAULT,
            title="Our organisation",
            from_domain="example.org",
            now=now,
            by=BY,
        )


def _topics(session: Session, now: datetime) -> None:
    present = {topic.slug for topic in topic_queries.everything(session)}
    brand_id = brand_queries.default_brand(session).id
    assert brand_id is not None
    for slug, mail_class, basis, mailbox, texts in TOPICS:
        if slug not in present:
            topics.create(
                session,
                slug=slug,
                brand_id=brand_id,
                basis=basis,
                mail_class=mail_class,
                mailbox=mailbox,
                texts=texts,
                double_opt_in=basis == "consent",
                now=now,
                by=BY,
            )


def _policy(session: Session, now: datetime) -> None:
    if POLICY not in {policy.slug for policy in policy_queries.slugs(session)}:
        texts = {locale: _policy_text(locale) for locale in ("en", "de")}
        policies.publish(session, slug=POLICY, texts=texts, now=now, by=BY)


def _policy_text(locale: str) -> PolicyText:
    """The first line of the file is the title."""
    text = (templates_dir() / "policies" / f"{POLICY}.{locale}.md").read_text("utf-8")
    title, _, body = text.partition("\n")
    return PolicyText(title.removeprefix("# "), body)
