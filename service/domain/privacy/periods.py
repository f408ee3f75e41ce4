"""How long what is kept: every class of data with its period, and for every table the class it belongs to or why it has none.

Pure; read by `retention`, which takes away what is past its time, by the access copy and the record of processing. A test walks
all tables and fails for one that is not named here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNCONFIRMED, ATTRIBUTES, MESSAGES, REQUESTS = "unconfirmed", "attributes", "messages", "requests"
NETWORKS = "networks"
MAIL_WORDS, LINKS, SIGN_INS, ANSWERS, UPLOADS = "mail_words", "links", "sign_ins", "answers", "uploads"


@dataclass(frozen=True)
class DataClass:
    """Data that goes by itself. `days` is fixed by the program; else `setting` names the setting that staff may change, and with
    neither each attribute has a number of its own."""

    name: str
    holds: str
    begins: str  # what the days are counted from
    goes: str
    stays: str
    days: int | None = None
    setting: str | None = None

    def period(self, settings: Mapping[str, Any]) -> int | None:
        """Its days as things are set; None: of each attribute its own."""
        return int(settings[self.setting]) if self.setting else self.days


CLASSES = (
    DataClass(
        UNCONFIRMED,
        "sign-ups on our own form that nobody confirmed",
        "the last time they were asked for",
        "address, name, language, what was typed: the person's key is destroyed, as by an erasure",
        "the entries of the ledger, which nothing opens any more; of the mailbox a keyed hash, so that a no from it is still heard",
        setting="unconfirmed_days",
    ),
    DataClass(
        ATTRIBUTES,
        "attributes that sites gave",
        "the day a site last gave it",
        "the value",
        "the person, with everything else",
    ),
    DataClass(
        MESSAGES,
        "messages from the contact page, answered or closed",
        "the last answer, or its being closed",
        "name, address, message and answers",
        "that there was one, in the ledger, without a name",
        setting="requests_days",
    ),
    DataClass(
        REQUESTS,
        "closed requests under people's rights",
        "its being closed",
        "what was said and by whom, and its dates",
        "that it was asked and how it ended, in the ledger",
        setting="requests_days",
    ),
    DataClass(
        NETWORKS,
        "whole network addresses in the evidence of a consent, where they are set to be kept whole",
        "the day it came",
        "the key of that day, and with it every address under it",
        "when, where and with which program it was said, and every other proof",
        setting="ip_days",
    ),
    DataClass(
        MAIL_WORDS,
        "what a single mail had to say beside its template: an answer, a masked address, a test reader's name",
        "the mailing's end",
        "those words",
        "that it was sent, on what ground, with what outcome",
        days=30,
    ),
    DataClass(
        LINKS,
        "used sign-in links, ended sessions of people, and what an undo would have brought back",
        "its use, or its end",
        "all of it",
        "the entries of what was done with it",
        days=30,
    ),
    DataClass(
        SIGN_INS,
        "sessions, one-time links and failed sign-ins of staff",
        "its end; of a failed sign-in the moment",
        "all of it",
        "the account",
        days=1,
    ),
    DataClass(
        ANSWERS,
        "answers kept for a site's repeated requests",
        "the answer",
        "all of it",
        "the entries of what was done",
        days=30,
    ),
    DataClass(
        UPLOADS,
        "files uploaded for an import that nobody ran, and cells mended in them",
        "the upload",
        "the file and the cells",
        "the import's plan and numbers",
        days=7,
    ),
)
BY_NAME = {one.name: one for one in CLASSES}

# What stays until the person is erased, or until they take it back.
# No line of a person's copy: each attribute has its own there, the others are of staff.
NOT_OF_PEOPLE = (ATTRIBUTES, SIGN_INS, UPLOADS)
WHILE_KNOWN = ("address", "profile", "consents and their proof", "mails sent, without their text")

_ERASED = "until the person is erased; of a sign-up that nobody confirmed see there"
_PROOF = "the proof of what was sent, to opaque ids and on which ground; the key that leads to a name goes with the person"
_NOBODY = "holds nobody's data"
_STAFF = "while the account is there; its name stays beside what was done under it"
# Every table: the class whose period it has, or why it has none.
TABLES: dict[str, str] = {
    "person": _ERASED,
    "address": _ERASED,
    "identity": _ERASED,
    "preference": "the choice itself, by opaque id: a no has to be known for as long as mail might be sent",
    "consent": "the proof of a choice (GDPR 7(1)), by opaque id",
    "confirmation": "that somebody was asked, so that nobody is asked twice; its button works for seven days, a question's for thirty",
    "asking": "numbers",
    "asked": "that somebody was asked, once for ever: by opaque id and a keyed hash of the mailbox",
    "person_attribute": ATTRIBUTES,
    "contact_request": MESSAGES,
    "rights_request": REQUESTS,
    "link_use": LINKS,
    "undo": LINKS,
    "staff_session": SIGN_INS,
    "staff_token": SIGN_INS,
    "sign_in_try": SIGN_INS,
    "idempotent_answer": ANSWERS,
    "people_import": UPLOADS,
    "evidence_key": NETWORKS,
    "mailing": MAIL_WORDS,
    "suppression": "a keyed hash and a no: mail to whoever said it stays forbidden (GDPR 21(3))",
    "ledger_entry": "the record everything rests on: opaque ids, and personal parts under the person's key, which goes with them",
    "ledger_node": "hashes over the ledger",
    "checkpoint": "signed hashes over the ledger",
    "audience": _PROOF,
    "outcome": _PROOF,
    "batch": _PROOF,
    "exclusion": "numbers",
    "people_import_chunk": "numbers",
    "warm_up_day": "numbers",
    "retention": "numbers",
    "breach": "what happened, without names: kept as long as somebody may ask for it (GDPR 33(5))",
    "staff_member": _STAFF,
    "api_key": _STAFF,
    "captured_mail": "the inbox of a practice installation, emptied by hand; beside a mail server nothing comes into it",
    "announcement": _NOBODY,
    "notice": _NOBODY,
    "mailing_content": _NOBODY,
    "template_version": _NOBODY,
    "media": _NOBODY,
    "topic": _NOBODY,
    "wording": _NOBODY,
    "policy": _NOBODY,
    "policy_version": _NOBODY,
    "processing_profile": _NOBODY,
    "attribute_kind": _NOBODY,
    "brand": _NOBODY,
    "dkim_key": _NOBODY,
    "setting": _NOBODY,
    "sender": _NOBODY,
}
