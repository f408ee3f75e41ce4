"""Compresses what is the same for everybody. A page that holds a secret is never compressed: its length would tell (BREACH)."""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = ("/static/", "/changelog", "/policies")


class Squeeze:
    """The application, with answers under `OPEN` gzipped for whoever takes that."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain, self._squeezed = app, GZipMiddleware(app, minimum_size=1_000, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, either way."""
        app = self._squeezed if str(scope.get("path", "")).startswith(OPEN) else self._plain
        await app(scope, receive, send)
