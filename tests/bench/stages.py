"""What one message costs by stage, in this process: render, assemble, sign, the three links. The mail both loops send.

The only part of the bench that looks inside.
"""

import time
from collections.abc import Callable

from service.domain.links import rules as links
from service.mail import dkim, letters, message


def body(points: int) -> str:
    """The Markdown of a launch with so many points, a hundred characters each."""
    return (
        "## Hello {{ first_name|default('there') }}\n\nPlan a week in two minutes.\n\n"
        + "\n\n".join(
            f"{n}. Every plan now shows who works on what, and when it has to be ready, on one page for the whole team."
            for n in range(1, points + 1)
        )
        + '\n\n[See it](https://acme.example.org/planner "button")\n'
    )


BODY = body(3)  # with a layout of ours, 14 KB of HTML: the least that a launch with something to say comes to
LONG = body(280)  # a hundred kilobytes; more, and some mailboxes cut it off
BRAND = letters.BrandLook(name="Acme", postal_address="Street 1, 10115 Berlin")
MAIL = letters.build(
    starter="launch",
    mail_class="marketing",
    locale="en",
    subject="{{ first_name|default('there') }}, the new planner is here",
    preheader="Plan a week in two minutes, with the people you work with.",
    body_markdown=BODY,
    merge=True,
    brand=BRAND,
    topic_name="New products",
)
_URL = "https://acme.example.org/u/" + "a" * 66
VALUES = {
    "first_name": "Ana",
    "stop_url": _URL,
    "manage_url": _URL,
    "why_url": _URL,
    "why_line": "You get this because you chose “New products” on 3 March 2026.",
    "to_address_masked": "a***a@example.org",
}
_LOADED = letters.load(MAIL)
_RENDERED = _LOADED.render(VALUES)
# The same words for the usual loop, whose templates know two variables.
HTML = _RENDERED.html.replace("Ana", "{{ first_name }}").replace(_URL, "{{ stop_url }}")
TEXT = _RENDERED.text.replace("Ana", "{{ first_name }}").replace(_URL, "{{ stop_url }}")


def _each(work: Callable[[], object], times: int = 2_000) -> float:
    """The best of five, in microseconds."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(times // 5):
            work()
        best = min(best, (time.perf_counter() - began) / (times // 5))
    return best * 1e6


def costs() -> dict[str, float]:
    """Microseconds per message by stage."""
    facts = message.MailingFacts(
        mail_class="marketing",
        locale="en",
        from_name="Acme",
        from_address="news@acme.example.org",
        reply_to="hello@acme.example.org",
        topic="new-products",
        topic_name="New products",
        campaign="m-1",
        help_url="https://acme.example.org/contact",
    )
    assembler = message.Assembler(facts, _LOADED)
    recipient = message.Recipient("ana@example.org", "<abc@acme.example.org>", 1_780_000_000, VALUES, _URL)
    link, keys = links.Link(links.STOP, 1 << 60, 7, 1 << 40, 5), {1: b"k" * 32}
    made = assembler.assemble(recipient).data
    size = len(made) / 1024
    key = dkim.Key("acme.example.org", "b20260528", dkim.open_private_key(dkim.new_private_key()))
    signer = dkim.Signer(key, at=1_780_000_000)
    return {
        f"render ({len(_RENDERED.html) / 1024:.0f} KB HTML and text)": _each(lambda: _LOADED.render(VALUES)),
        f"render and assemble ({size:.0f} KB message)": _each(lambda: assembler.assemble(recipient).data),
        "sign (RSA-2048)": _each(lambda: signer(made)),
        "one link token": _each(lambda: links.write(link, keys)),
    }
