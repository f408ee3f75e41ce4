"""The HTTP application, put together: routers, guard, error pages. Called by `bidden web` and the tests."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from service.api.door import build as build_api
from service.api.errors import problem
from service.kit.errors import DomainError
from service.kit.places import PACKAGE
from service.ops.house import House
from service.web import errors, ops, public
from service.web.guard import Guard
from service.web.squeeze import Squeeze
from service.web.staff import frame
from service.web.staff.routes import router as staff


def build(house: House) -> FastAPI:
    """The application of one installation; it opens nothing that `house` does not hold already."""
    app = FastAPI(title="Bidden", redirect_slashes=False, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.house = house
    app.add_middleware(Squeeze)
    app.add_middleware(Guard, settings=house.settings, refuse=_answer)
    for kind in (DomainError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _answer)
    app.mount("/api", build_api(house))
    app.mount("/static", StaticFiles(directory=PACKAGE / "web" / "static"))
    for router in (ops.router, staff, *public.routers()):
        app.include_router(router)
    return app


async def _answer(request: Request, error: Exception) -> Response:
    """An error as the side it happened on says it. The API answers for its own; what the guard refused before
    it got there comes here, and a program reads it as any other."""
    if (request.scope["path"] + "/").startswith("/api/"):
        return problem(errors.as_domain(error))
    if request.url.path.startswith(("/staff", "/inbox")):
        fact = errors.as_domain(error)
        return await frame.error_page(request, fact if fact.status < 500 else None, fact.status)
    return await errors.answer(request, error)
