"""Which changes of state and which failpoints a campaign has to have seen, so that nobody takes silence for a proof.

Asked by `campaign`. A run that never reached an edge says nothing about it (FoundationDB's "sometimes").
"""

from collections import Counter

from service.kit import failpoints

OFTEN = 10  # times each of these must have been reached in the ordinary size

EDGES = (
    "announcement: scheduled → freezing",
    "announcement: scheduled → paused",
    "announcement: scheduled → cancelled",
    "announcement: paused → scheduled",
    "announcement: freezing → sent",
    "announcement: freezing → paused",
    "announcement: freezing → cancelled",
    "announcement: freezing → expired",
    "announcement: freezing → halted",
    "announcement: paused → sending",
    "announcement: sending → sent",
    "announcement: sending → halted",
    "announcement: halted → sending",
    "announcement: halted → cancelled",
    "mailing: freezing → sending",
    "mailing: freezing → paused",
    "mailing: freezing → cancelled",
    "mailing: paused → freezing",
    "mailing: paused → sending",
    "mailing: paused → cancelled",
    "mailing: sending → paused",
    "mailing: sending → cancelled",
    "mailing: sending → expired",
    "mailing: sending → sent",
    "mailing: sending → halted",
    "mailing: halted → sending",
    "mailing: halted → cancelled",
    "batch: open → claimed",
    "batch: open → closed",
    "batch: claimed → closed",
    *(f"delivery: planned → {state}" for state in (
        "sent", "bounced", "deferred", "unknown", "skipped", "cancelled", "expired",
    )),
    *(f"delivery: deferred → {state}" for state in (
        "sent", "bounced", "deferred", "unknown", "skipped", "cancelled", "expired",
    )),
    *(f"delivery: unknown → {state}" for state in ("sent", "deferred", "unknown")),
)  # fmt: skip


def missing(edges: Counter[str], reached: Counter[str], often: int = OFTEN) -> list[str]:
    """What was reached fewer than `often` times, with how often it was. A failpoint counts where somebody died at it."""
    wanted = {edge: edges[edge] for edge in EDGES}
    wanted |= {f"failpoint {name}": reached[f"{name} fired"] for name in failpoints.NAMES}
    return [f"{name}: {count}" for name, count in wanted.items() if count < often]
