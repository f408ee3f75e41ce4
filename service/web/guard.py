"""Before every request: host, path, size, origin; after every answer: headers and one line of log.

Pure ASGI, wrapped round the whole application by `service.app`. It knows no feature and no template: what it
refuses is handed to the function that turns errors into answers.
"""

import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.config import Settings
from service.kit.errors import DomainError, Forbidden, Invalid, NotFound
from service.web.deps import carries_session

Refuse = Callable[[Request, Exception], Awaitable[Response]]

_KIB = 1024
_LIMITS = (("/staff/media", 3 * _KIB * _KIB), ("/staff/people/import", 24 * _KIB * _KIB), ("", 256 * _KIB))
_PROBES = (
    "/livez",
    "/readyz",
    "/metrics",
)  # asked by machines under whatever name they reach us by; they show nothing
_SAFE = ("GET", "HEAD", "OPTIONS")
_PRIVATE = re.compile(r"/(u|p|why|confirm|me|lost-link|staff|inbox|api)(/|$)")
_PAGE = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_STAFF = _PAGE + "; script-src 'self'; connect-src 'self'; frame-src 'self'"
_LOG = logging.getLogger("service.web")


class HostNotAllowed(Invalid):
    """This service does not answer under that name."""

    status = 400


class PathNotAllowed(NotFound):
    """There is nothing here by that name."""


class BodyTooLarge(DomainError):
    """That is more than can be taken in at once."""

    status = 413


class CrossSite(Forbidden):
    """That came from another site, so nothing was done. Open the page here and try again."""

    code = "csrf"


class Guard:
    """The application, guarded. `refuse` answers what is not let in, and what nobody caught."""

    def __init__(self, app: ASGIApp, *, settings: Settings, refuse: Refuse) -> None:
        self._app, self._refuse = app, refuse
        self._hosts = _hosts(settings)
        self._origins = frozenset(
            _origin(url) for url in [settings.base_url, *settings.former_urls]
        ) | _local_origins(settings)
        self._https = settings.base_url.startswith("https:")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the lifespan goes through untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = {**scope, "state": {**scope.get("state", {}), "request_id": secrets.token_hex(8)}}
        answer = _Answer(scope, send, https=self._https)
        method, scope["method"] = scope["method"], "GET" if scope["method"] == "HEAD" else scope["method"]
        request = Request(scope, _limited(scope, receive))
        try:
            self._check(request)
            await self._app(scope, request.receive, answer.send)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception as error:
            if not isinstance(error, DomainError):
                _LOG.exception("a request failed", extra={"facts": {"request": scope["state"]["request_id"]}})
            if not answer.status:
                await (await self._refuse(request, error))(scope, receive, answer.send)
        finally:
            answer.log(method)

    def _check(self, request: Request) -> None:
        """Refuse what must not come in. Forwarded headers are never believed (H42)."""
        path: str = request.scope["path"]
        if path not in _PROBES and not self._host_allowed(request):
            raise HostNotAllowed
        if "\x00" in path or not path.startswith("/") or any(part in (".", "..") for part in path.split("/")):
            raise PathNotAllowed
        size = request.headers.get("content-length", "")
        if not path.startswith("/api/") and size.isdecimal() and int(size) > _limit(path):
            raise BodyTooLarge
        if (
            request.method not in _SAFE
            and not path.startswith(("/api/", "/u/"))
            and not self._same_site(request)
        ):
            raise CrossSite

    def _host_allowed(self, request: Request) -> bool:
        """HTTP/1.0 has no Host (RFC 9112 3.2); nothing is made from it, so its absence is harmless."""
        named = request.headers.getlist("host")
        if not named:
            return bool(request.scope.get("http_version") == "1.0")
        return len(named) == 1 and named[0].lower() in self._hosts

    def _same_site(self, request: Request) -> bool:
        """Whether a changing request comes from a page of ours (Fetch metadata, else Origin: standards N12).

        A page under `no-referrer` sends `Origin: null`, so that says nothing; whoever names no origin is no
        browser that could have been led here, and is refused only where a session stands behind it.
        """
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        if site:
            return site in ("same-origin", "none")
        if origin and origin != "null":
            return origin.lower() in self._origins
        return not carries_session(request) and not request.scope["path"].startswith(("/staff", "/inbox"))


class _Answer:
    """Sends on what the application answers, with the headers every answer carries; remembers its status."""

    def __init__(self, scope: Scope, send: Send, *, https: bool) -> None:
        self.status = 0
        self._scope, self._send, self._https = scope, send, https
        self._bodiless = scope["method"] == "HEAD"
        self._began = time.perf_counter()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._add(MutableHeaders(scope=message))
        elif self._bodiless and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)

    def _add(self, headers: MutableHeaders) -> None:
        path: str = self._scope["path"]
        private = bool(_PRIVATE.match(path))
        headers.setdefault(
            "Content-Security-Policy", _STAFF if path.startswith(("/staff", "/inbox")) else _PAGE
        )
        own_frame = "frame-ancestors 'self'" in headers["Content-Security-Policy"]
        headers["X-Frame-Options"] = "SAMEORIGIN" if own_frame else "DENY"
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["X-Request-Id"] = self._scope["state"]["request_id"]
        headers.setdefault("Cache-Control", "no-store" if private else "no-cache")
        if private:
            headers["X-Robots-Tag"] = "noindex"
        if self._https:
            headers["Strict-Transport-Security"] = "max-age=31536000"
        if self.status == 413:
            headers["Connection"] = "close"  # what is still coming is not read (H46)

    def log(self, method: str) -> None:
        """One line: the route's template and never what stood in its place (P6)."""
        facts = {
            "method": method,
            "route": getattr(self._scope.get("route"), "path", "-"),
            "status": self.status,
            "ms": round((time.perf_counter() - self._began) * 1000, 1),
            "request": self._scope["state"]["request_id"],
        }
        _LOG.info("request", extra={"facts": facts})


def _limit(path: str) -> int:
    return next(limit for start, limit in _LIMITS if path.startswith(start))


def _limited(scope: Scope, receive: Receive) -> Receive:
    """A `receive` that stops reading a body at its limit; the API counts for itself."""
    if scope["path"].startswith("/api/"):
        return receive
    left = _limit(scope["path"])

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise BodyTooLarge
        return message

    return counted


def _hosts(settings: Settings) -> frozenset[str]:
    """Every `Host` we answer to: public and former ones, the listening one, on loopback its other names."""
    hosts = {settings.listen.lower()}
    for url in [settings.base_url, *settings.former_urls]:
        parts = urlsplit(url)
        hosts.add(parts.netloc.lower())
        if parts.port is None:
            hosts.add(f"{parts.netloc.lower()}:{443 if parts.scheme == 'https' else 80}")
    return frozenset(hosts | {_origin(url).partition("//")[2] for url in _local_origins(settings)})


def _local_origins(settings: Settings) -> frozenset[str]:
    if not settings.is_loopback:
        return frozenset()
    ports = {settings.listen.rpartition(":")[2], str(urlsplit(settings.base_url).port or 80)}
    return frozenset(
        f"http://{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]") for port in ports
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
