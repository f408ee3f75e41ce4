"""Which methods a path answers, for the Allow of a 405 (RFC 9110 section 15.5.6).

Called by the error pages of both sides: the framework names only the methods of the first route that fits.
"""

from starlette.requests import Request
from starlette.routing import Match

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")


def allowed(request: Request) -> str:
    """The methods of this request's path, as Allow lists them."""
    return ", ".join(method for method in METHODS if _answers(request, method))


def _answers(request: Request, method: str) -> bool:
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] is Match.FULL for route in request.scope["app"].routes)
