"""Mails in a frame: an answer of its own that runs nothing, reads no cookie, loads only pictures (H22)."""

from html import escape

from starlette.responses import HTMLResponse

from service.config import Settings
from service.kit.errors import DomainError


def framed(html: str, settings: Settings, *, popups: bool = False, status: int = 200) -> HTMLResponse:
    """The HTML of a mail under a policy that gives it nobody's origin. `popups`: links may open in a new tab.

    `sandbox` also holds when somebody opens the address without the frame around it (CSP 3, section 6.4.1).
    """
    rules = [
        "sandbox allow-popups allow-popups-to-escape-sandbox" if popups else "sandbox",
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"img-src https: data: {settings.base_url}/media/",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    ]
    policy = "; ".join(rules)
    return HTMLResponse(html, status, {"Content-Security-Policy": policy})


def refused(wrong: DomainError, *, status: int | None = None) -> HTMLResponse:
    """What stands in the frame when the mail cannot be made: the reason, as plain words."""
    sentence = escape(f"{wrong.detail} {wrong.fix or ''}".strip())
    head = '<!doctype html><html lang="en"><meta name="color-scheme" content="light dark"><title>No preview</title>'
    page = f"{head}<body><main><h1>No preview</h1><p>{sentence}</p></main></body></html>"
    policy = "sandbox; default-src 'none'; frame-ancestors 'self'"
    return HTMLResponse(page, status or wrong.status, {"Content-Security-Policy": policy})
