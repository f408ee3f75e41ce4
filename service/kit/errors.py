"""What can go wrong, as facts of the domain. `web/errors.py` and `api/errors.py` turn them into HTTP; nobody else does.

The docstring of a class is the sentence for people; its name in snake_case (or `code`) is the stable word for programs.
"""

import re


class DomainError(Exception):
    """That did not work."""

    status = 400
    code = "error"
    fix_hint: str | None = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "code" not in cls.__dict__:
            cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(
        self, detail: str | None = None, *, field: str | None = None, fix: str | None = None
    ) -> None:
        self.title = " ".join((type(self).__doc__ or "").split())
        self.detail = detail or self.title
        self.field = field
        self.fix = fix or self.fix_hint
        super().__init__(self.detail)


class NotFound(DomainError):
    """There is nothing here by that name."""

    status = 404


class Forbidden(DomainError):
    """You may not do that."""

    status = 403


class Conflict(DomainError):
    """That does not fit the present state."""

    status = 409


class Invalid(DomainError):
    """Something in what you sent is not right."""

    status = 422


class TooMany(DomainError):
    """That was asked for too often; please wait a little."""

    status = 429


class DatabaseDamaged(DomainError):
    """The database is damaged: what it says cannot be relied on, so nothing is sent."""

    status = 500
    fix_hint = "Keep the file as it is; restore the last backup beside it: bidden db restore."


def lacks_room(error: BaseException) -> bool:
    """Whether the machine had no memory for what was asked, one more thread, say (which CPython tells in words alone)."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and str(error) == "can't start new thread"
    )
