"""The sign-in form, and what somebody had written when their sign-in ended, which goes along with it.

Called by `frame` (a form that came from nobody any more) and by `login`. What was written travels from form to form in
the browser it came from: never in a URL, and nothing of it is stored.
"""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from service.kit.errors import DomainError
from service.web import deps, forms, pages
from service.web.forms import Form

WRITTEN = ("body", "text")  # the fields that take long to write; a form without them is soon filled again
_FIELD, _PATH = "kept:", "kept_path"


@dataclass(frozen=True)
class Kept:
    """A form that was refused: where it was going, its fields in order, and the long text for copying."""

    path: str
    fields: list[tuple[str, str]]

    @property
    def text(self) -> str:
        """What took long to write."""
        return "\n\n".join(value for name, value in self.fields if name in WRITTEN and value)

    @property
    def carried(self) -> list[tuple[str, str]]:
        """The fields as the sign-in form carries them, apart from its own."""
        return [(_PATH, self.path), *((_FIELD + name, value) for name, value in self.fields)]


async def of_refused(request: Request) -> Kept | None:
    """What a refused form held, if it holds a text."""
    try:
        form = await forms.read(request)
    except DomainError:
        return None
    return _kept(request.url.path, list(form))


def of_sign_in(form: Form) -> Kept | None:
    """What the sign-in form carries along."""
    try:
        path = form.text(_PATH)
    except DomainError:
        return None
    return _kept(
        path, [(name.removeprefix(_FIELD), value) for name, value in form if name.startswith(_FIELD)]
    )


def _kept(path: str, fields: list[tuple[str, str]]) -> Kept | None:
    kept = Kept(deps.local_path(path, ""), fields)
    return kept if kept.path.startswith("/staff/") and kept.text else None


def sign_in_page(
    request: Request,
    values: dict[str, str],
    errors: dict[str, str],
    kept: Kept | None,
    *,
    status: int = 200,
) -> Response:
    """The form to sign in, with what must not be lost."""
    context = {
        "next": values["next"],
        "values": values,
        "errors": errors,
        "kept": kept,
        "practice": deps.house(request).settings.practice,
    }
    return pages.html(request, "staff/login.html", context, status=status)


def go_on_page(request: Request, kept: Kept) -> Response:
    """Signed in again: one button sends what was written to where it was going."""
    context = {"kept": kept, "practice": deps.house(request).settings.practice}
    return pages.html(request, "staff/go_on.html", context)
