"""What the demo's mailings say, as bodies of the API. Called by `ops.demo` only."""

from typing import Any

LAUNCH: dict[str, Any] = {
    "topic": "new-products",
    "template": "launch",
    "content": {
        "en": {
            "subject": "{{ first_name|default('Hello') }}, the quiet kettle is here",
            "preheader": "Boils in two minutes and says nothing about it.",
            "body": """# {{ first_name|default('Hello') }}, tea without the whistle

The quiet kettle boils a litre in two minutes. You will not hear it.

* **38 dB.** A library is louder.
* **Switches itself off.** Every time.
* **Repairable.** Five screws, parts for ten years.

[See the quiet kettle](https://shop.example.org/quiet-kettle "button")
""",
        },
        "de": {
            "subject": "{{ first_name|default('Guten Tag') }}, der leise Kessel ist da",
            "preheader": "Kocht in zwei Minuten und sagt nichts dazu.",
            "body": """# {{ first_name|default('Guten Tag') }}, Tee ohne Pfeifen

Der leise Kessel kocht einen Liter in zwei Minuten. Sie hören ihn nicht.

* **38 dB.** Eine Bücherei ist lauter.
* **Schaltet sich ab.** Jedes Mal.
* **Reparierbar.** Fünf Schrauben, Teile für zehn Jahre.

[Den leisen Kessel ansehen](https://shop.example.org/leiser-kessel "button")
""",
        },
    },
}
WORKSHOP: dict[str, Any] = {
    "topic": "new-products",
    "template": "invitation",
    "audience": {"attributes": {"plan": ["pro", "team"]}},
    "content": {
        "en": {
            "subject": "An evening about descaling",
            "preheader": "Thursday, 18:00, in the workshop and on screen.",
            "body": """# Come and see a kettle opened

Hello {{ first_name|default('there') }},

on Thursday at 18:00 we take three old kettles apart and put two of them together again.

[Keep me a chair](https://shop.example.org/workshop "button")
""",
        }
    },
}
LETTER: dict[str, Any] = {
    "topic": "new-products",
    "template": "letter",
    "audience": {"attributes": {"role": "owner"}},
    "content": {
        "en": {
            "subject": "What we learnt from ten thousand kettles",
            "preheader": "A letter from the workshop.",
            "body": """Hello {{ first_name|default('there') }},

ten thousand kettles came back to us in twelve years. Nine of ten had one fault: a seal that costs forty cents.
From this month every kettle we sell has a spare one in its box.

Mara, Kettle Works
""",
        }
    },
}
SPRING: dict[str, Any] = {
    "topic": "new-products",
    "template": "launch",
    "content": {
        "en": {
            "subject": "The spring colours",
            "preheader": "Moss, clay and fog.",
            "body": """# Moss, clay and fog

Three new colours for the quiet kettle, from Monday.

[Look at them](https://shop.example.org/colours "button")
""",
        }
    },
}
DRAFT: dict[str, Any] = {
    "topic": "new-products",
    "template": "letter",
    "content": {
        "en": {
            "subject": "The repair list for May",
            "preheader": "What we mended, and how.",
            "body": "Hello {{ first_name|default('there') }},\n\nforty-one kettles this month.\n",
        }
    },
}
NOTICE: dict[str, Any] = {
    "topic": "updates",
    "mail": True,
    "content": {
        "en": {
            "title": "Kettle 2.4: it remembers your temperature",
            "preheader": "And three smaller things.",
            "body": """The kettle now keeps the last temperature you chose, also without power.

| | before | now |
|---|---|---|
| after a power cut | 100 °C | your own |
| child lock | 3 s | 1 s |

To get it, hold the lid button for five seconds:

```
lid ▸ hold 5 s ▸ two beeps
```
""",
        }
    },
}
RECALL: dict[str, Any] = {
    "topic": "important-notices",
    "mail": False,
    "content": {
        "en": {
            "title": "Stands made in March: please check the cable",
            "preheader": "It takes a minute.",
            "body": """Some stands made in March 2026 have a cable that can come loose. Look at the number under yours:
if it begins with **K3**, we send you a new one.

[Check your number](https://shop.example.org/stand)
""",
        }
    },
}
