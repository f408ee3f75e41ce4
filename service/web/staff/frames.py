"""Mails shown inside a page: an answer of its own that can run nothing, read no cookie and load only pictures (H22)."""

from html import escape

from starlette.responses import HTMLResponse

from service.config import Settings
from service.kit.errors import DomainError


def framed(html: str, settings: Settings, *, popups: bool = False, status: int = 200) -> HTMLResponse:
    """The HTML of a mail under a policy that gives it an origin of nobody's. `popups`: its links may open in a new tab.

    `sandbox` also holds when somebody opens the address without the frame around it (CSP 3, section 6.4.1).
    """
    sandbox = "sandbox allow-popups allow-popups-to-escape-sandbox" if popups else "sandbox"
    pictures = f"https: data: {settings.base_url}/media/"
    policy = f"{sandbox}; default-src 'none'; style-src 'unsafe-inline'; img-src {pictures}; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    return HTMLResponse(html, status, {"Content-Security-Policy": policy})


def refused(wrong: DomainError) -> HTMLResponse:
    """What stands in the frame when the mail cannot be made: the reason, as plain words."""
    sentence = escape(f"{wrong.detail} {wrong.fix or ''}".strip())
    page = f'<!doctype html><html lang="en"><title>No preview</title><body><main><p>{sentence}</p></main></body></html>'
    policy = "sandbox; default-src 'none'; frame-ancestors 'self'"
    return HTMLResponse(page, wrong.status, {"Content-Security-Policy": policy})
