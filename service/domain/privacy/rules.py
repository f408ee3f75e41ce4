"""What a contact request may hold, and how many one address may send. Pure; called by the privacy actions."""

import re
from datetime import timedelta

from service.kit.errors import Conflict, Invalid, NotFound, TooMany
from service.mail.headers import clean_header
from service.mail.starters import texts

# Offered by the form as subjects; any other line is taken as it is.
SUBJECTS = {
    "question": "A question",
    "data": "My data and my rights",
    "complaint": "Something is wrong",
    "other": "Something else",
}
ANSWER_MAIL = "contact-answer"  # the purpose of the mail that answers
MOST, WINDOW = 3, timedelta(hours=1)
LINE_LIMIT, TEXT_LIMIT = 200, 10_000
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class ContactUnknown(NotFound):
    """There is no such message."""


class ContactTooOften(TooMany):
    """We have three messages from this address within the hour; please wait for our answer."""


class ContactClosed(Conflict):
    """This message is closed."""


class AlreadyErased(Conflict):
    """That data was erased before; nothing is left to erase."""


class NameTooLong(Invalid):
    """A name has at most 200 characters."""


class TextEmpty(Invalid):
    """Please write something here."""


class TextTooLong(Invalid):
    """That is too long; please make it shorter."""


class TextControlChar(Invalid):
    """That text holds a character that cannot be seen; please type it again."""

    code = "invalid_text"


def check_name(typed: str) -> str:
    """The visitor's name on one line; it may be empty. Raises `NameTooLong` or a header rule (H04, H06)."""
    name = clean_header(typed.strip(" "), field="name")
    if len(name) > LINE_LIMIT:
        raise NameTooLong(field="name")
    return name


def check_subject(typed: str) -> str:
    """A subject on one line; a word of the form becomes its label. Raises `TextEmpty`, `TextTooLong`."""
    subject = clean_header(typed.strip(" "), field="subject")
    if not subject:
        raise TextEmpty(field="subject")
    if len(subject) > LINE_LIMIT:
        raise TextTooLong(field="subject")
    return SUBJECTS.get(subject, subject)


def subject_in(subject: str, locale: str) -> str:
    """A subject in the language of its writer, where it is one of ours."""
    slug = next((slug for slug, label in SUBJECTS.items() if label == subject), "")
    translated: str = texts(locale)["subjects"].get(slug, subject)
    return translated


def check_text(typed: str, *, field: str = "message") -> str:
    """A message of several lines. Raises `TextEmpty`, `TextTooLong` or `TextControlChar`."""
    text = typed.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text:
        raise TextEmpty(field=field)
    if len(text) > TEXT_LIMIT:
        raise TextTooLong(field=field)
    if _CONTROL.search(text):
        raise TextControlChar(field=field)
    return text
