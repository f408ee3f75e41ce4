"""What a contact request may hold, and how many one address may send; what may be asked for by law, and until when it has to
be answered. Pure; called by the privacy actions and their pages.
"""

import re
from calendar import monthrange
from collections.abc import Collection
from datetime import date, datetime, timedelta

from service.domain.consent import jurisdictions
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
NOTE_LIMIT = 500
# What may be asked for, and the law it rests on.
RIGHTS = {
    "access": ("A copy of all that is held", "GDPR Art. 15"),
    "rectification": ("Something corrected", "GDPR Art. 16"),
    "erasure": ("Erasure", "GDPR Art. 17"),
    "restriction": ("Kept, but not used", "GDPR Art. 18"),
    "portability": ("What they gave, to take along", "GDPR Art. 20"),
    "objection": ("No advertising", "GDPR Art. 21(2)"),
    "objection_other": ("Objection to another use", "GDPR Art. 21(1)"),
    "opt_out": ("No commercial mail", "US CAN-SPAM"),
}
DOORS = {
    "link": "by themselves, through a mailed link",
    "form": "the contact form",
    "staff": "staff, on their behalf",
    "site": "a site, on their behalf",
}
OUTCOMES = {
    "done": "Done as asked",
    "refused": "Refused",
    "not_identified": "Not shown to be theirs",
    "taken_back": "Taken back by the person",
}
COPIES = ("access", "portability")
BY_DOOR = (*COPIES, "rectification")  # what was had by one door answers what was asked by it alone
DOES_TOO = {"objection": ("opt_out",)}  # who has no advertising any more has no commercial mail
CLOSED_THERE = (
    "restriction",
    "objection",
    "opt_out",
    "rectification",
    "erasure",
)  # by what staff do on the person's page
EXPLAINED = ("refused", "not_identified")  # outcomes that somebody may complain about
OPT_OUT_DAYS = 10
BREACH_FACTS = ("what", "whom", "how_many", "consequences", "done")
FACT_LIMIT, REPORT_WITHIN = 4_000, timedelta(hours=72)
TOLD = {
    "told": "Has been told",
    "may_know": "Not told, but may know",
    "secret": "Must not know",
}
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class ContactUnknown(NotFound):
    """There is no such message."""


class ContactTooOften(TooMany):
    """We have three messages from this address within the hour; please wait for our answer."""


class ContactClosed(Conflict):
    """This message is closed."""


class RequestUnknown(NotFound):
    """There is no such request."""


class RequestClosed(Conflict):
    """This request is closed."""


class RequestTaken(Conflict):
    """It is somebody else's already; if that is wrong, close it and write it down once more."""


class RightUnknown(Invalid):
    """Please say what is asked for."""


class FormUsed(Conflict):
    """This form was sent before, with something else in it; that stands as it was. Send this if it is another one."""


class OutcomeUnknown(Invalid):
    """Please say how it ended."""


class DayInvalid(Invalid):
    """Please give the day it came, as in 2026-11-24; it cannot lie ahead."""


class ReasonMissing(Invalid):
    """Please say why."""


class ProofMissing(Invalid):
    """Please say how they showed that it is theirs, or have them sign in by a mailed link first."""


class NotDone(Invalid):
    """Nothing here shows that this was done: do it on their page, which closes this by itself, or say what was done in its place."""


class NotToldYet(Invalid):
    """More time counts only once the person has been told, with the reason."""


class NoMoreTime(Conflict):
    """This has to be done at once, or within the days the law gives: it cannot be put off."""


class ExtendedBefore(Conflict):
    """More time was taken before; there is no more."""


class TooLateToExtend(Conflict):
    """The day it was due is over; the person had to be told by then."""


class DisclosureUnknown(NotFound):
    """There is no such disclosure."""


class ApproverMissing(Invalid):
    """Please say who approved it."""


class ToldUnknown(Invalid):
    """Please say whether the person has been told."""


class BreachUnknown(NotFound):
    """There is no such breach."""


class BreachClosed(Conflict):
    """This breach is closed."""


class BreachUnfinished(Conflict):
    """First say whether the authority was told, and whether the people were, or why not."""


class MomentInvalid(Invalid):
    """Please give day and hour in UTC; it cannot lie ahead, nor before the breach was noticed."""


class NumberInvalid(Invalid):
    """Please give a number, or nothing while it is not known."""


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


def check_note(typed: str, *, field: str, needed: bool, limit: int = NOTE_LIMIT) -> str:
    """A text of staff that stands in clear. Raises `ReasonMissing`, `TextTooLong`, `TextControlChar`."""
    if not typed.strip():
        if needed:
            raise ReasonMissing(field=field)
        return ""
    text = check_text(typed, field=field)
    if len(text) > limit:
        raise TextTooLong(field=field)
    return text


def check_number(typed: str, *, field: str) -> str:
    """How many, in digits; empty while nobody knows. Raises `NumberInvalid`."""
    digits = typed.strip().replace(",", "")
    if digits and not (digits.isascii() and digits.isdecimal() and len(digits) <= 12):
        raise NumberInvalid(field=field)
    return digits


def last_day(now: datetime) -> date:
    """The latest day that has begun somewhere: of those who write down what came today, some live where it is tomorrow."""
    return (now + timedelta(hours=14)).date()


def report_by(noticed_at: datetime) -> datetime:
    """Until when the authority has to know of a breach (GDPR 33(1))."""
    return noticed_at + REPORT_WITHIN


def due_on(right: str, came_on: date, countries: Collection[str] = ()) -> date:
    """The last day for an answer. Objecting to advertising counts at once (GDPR 21(3)); an opt-out within ten working days
    (15 USC 7704(a)(4)); all else within a month (GDPR 12(3)), or sooner where the law of a country in which they are known to live is
    quicker. Holidays put nothing off, nor the week's end a month: an answer by this day is in time wherever one counts more kindly.

    Of somebody whose country is not known the month holds. That the strictest rule holds then is said of the gate, which decides
    what may be sent to them; a clock errs less by the law of the controller, and goes forward as soon as a country is known."""
    if right == "objection":
        return came_on
    usual = _working_days_after(came_on, OPT_OUT_DAYS) if right == "opt_out" else months_after(came_on, 1)
    clocks = jurisdictions.quicker(right, countries).values()
    return min([usual, *(_working_days_after(came_on, one.days) for one in clocks)])


def may_take_longer(right: str, countries: Collection[str] = ()) -> bool:
    """Whether the law gives more time at all, for a reason."""
    clocks = jurisdictions.quicker(right, countries).values()
    return right not in ("objection", "opt_out") and all(one.more for one in clocks)


def longest(right: str, came_on: date, countries: Collection[str] = ()) -> date:
    """The last day with all the time that may be taken: two further months (GDPR 12(3)), or the days of a law that is quicker."""
    if not may_take_longer(right, countries):
        return due_on(right, came_on, countries)
    clocks = jurisdictions.quicker(right, countries).values()
    return min(
        [months_after(came_on, 3), *(_working_days_after(came_on, one.days + one.more) for one in clocks)]
    )


def extended_to(
    right: str, came_on: date, *, extended: bool, today: date, countries: Collection[str] = ()
) -> date:
    """The last day with the time that may be taken for a reason. Raises `NoMoreTime`, `ExtendedBefore`, `TooLateToExtend`."""
    if not may_take_longer(right, countries):
        raise NoMoreTime
    if extended:
        raise ExtendedBefore
    if today > due_on(right, came_on, countries):
        raise TooLateToExtend
    return longest(right, came_on, countries)


def months_after(day: date, months: int) -> date:
    """The same date so many months later, or that month's last one (Regulation 1182/71 Art. 3(2)(c))."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _working_days_after(day: date, days: int) -> date:
    while days:
        day += timedelta(days=1)
        days -= day.weekday() < 5
    return day
