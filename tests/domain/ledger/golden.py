"""Twenty entries from fixed inputs, with hashes, proofs and head: the bytes that are never to change (design.md 4).

`python -m tests.domain.ledger.golden` writes the file; it is written once, and afterwards only compared.
"""

import base64
import json
from pathlib import Path
from typing import Any

from service.domain.ledger import rules
from service.kit import merkle

FILE = Path(__file__).parents[2] / "data" / "ledger_golden.json"
AT = 1_795_512_000_000_000  # 2026-11-24T09:20:00Z in microseconds
SEALED = {
    "sealed": base64.b64encode(
        bytes(range(1, 62))
    ).decode(),  # a fixed ciphertext: what is inside does not matter here
    "commitment": "5f" * 32,
}

# kind, actor, subject, body
ENTRIES: list[tuple[str, str, str | None, dict[str, Any]]] = [
    ("brand.created", "system", "default", {"title": "Our organisation"}),
    (
        "topic.created",
        "system",
        "new-products",
        {"basis": "consent", "class": "marketing", "double_opt_in": True, "visibility": "public"},
    ),
    (
        "wording.published",
        "system",
        "new-products",
        {"version": 1, "texts": {"en": "aa" * 32, "de": "bb" * 32}},
    ),
    ("settings.changed", "cli", None, {"name": "weekly_cap", "before": None, "after": 3}),
    ("person.registered", "key:k_1", "p_a", {"source": "shop", "confirmed": False, "topics": []}),
    (
        "consent.requested",
        "key:k_1",
        "p_a",
        {"topic": "new-products", "state": "requested", "evidence": SEALED},
    ),
    (
        "consent.given",
        "person:p_a",
        "p_a",
        {"topic": "new-products", "state": "given", "method": "doi_click", "evidence": SEALED},
    ),
    ("preference.changed", "person:p_a", "p_a", {"topic": "new-products", "cadence": "each"}),
    ("announcement.created", "staff:s_1", "a_1", {"name": "Grüße aus Köln – 新製品 🎉"}),
    ("announcement.scheduled", "staff:s_1", "a_1", {"due_at": "2026-11-24T10:00:00+00:00", "hold": 300}),
    (
        "mailing.frozen",
        "system",
        "m_1",
        {"planned": 1, "excluded": {"no_consent": 12, "withdrawn": 0}, "batches": 1},
    ),
    ("batch.sealed", "system", "m_1", {"batch": 1, "positions": 1, "root": "c0" * 32}),
    (
        "consent.withdrawn",
        "person:p_a",
        "p_a",
        {"topic": "new-products", "state": "withdrawn", "evidence": SEALED},
    ),
    ("consent.restored", "person:p_a", "p_a", {"topic": "new-products", "state": "given", "restores": 7}),
    ("person.viewed", "staff:s_1", "p_a", {"reason": 'asked by telephone, said "please"'}),
    (
        "suppression.added",
        "system",
        None,
        {"address_hash": "ab" * 32, "scope": "all", "cause": "hard_bounce", "origin": "m_1"},
    ),
    ("contact.asked", "system", "q_1", {"control": "\b\t\n\f\r\u0000\u001f\u007f\u2028", "slashes": '\\/"'}),
    (
        "policy.published",
        "staff:s_1",
        "privacy",
        {"version": 2, "locales": ["de", "en"], "nothing": [], "empty": {}},
    ),
    (
        "ledger.exact",
        "cli",
        None,
        {"most": 9007199254740991, "least": -9007199254740991, "zero": 0, "yes": True, "no": False},
    ),
    (
        "ledger.keys",
        "cli",
        None,
        {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7},
    ),
]


def entries() -> list[rules.Entry]:
    """The twenty entries, chained."""
    made: list[rules.Entry] = []
    for n, (kind, actor, subject, body) in enumerate(ENTRIES):
        prev_hash = made[-1].hash if made else rules.first_link()
        made.append(
            rules.make(
                seq=n + 1,
                at=AT + n * 1_000_001,
                kind=kind,
                actor=actor,
                subject=subject,
                body=body,
                prev_hash=prev_hash,
            )
        )
    return made


def content() -> str:
    """What the file holds."""
    made = entries()
    leaves = [one.hash for one in made]
    rows = [
        {
            "entry": one.text,
            "hash": one.hash,
            "path": merkle.inclusion_path(n, len(leaves), merkle.over(leaves)),
        }
        for n, one in enumerate(made)
    ]
    whole = {"entries": rows, "size": len(rows), "head": merkle.root(leaves)}
    return json.dumps(whole, ensure_ascii=True, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(content(), encoding="ascii")
