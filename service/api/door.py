"""The API as one app of its own, mounted at /api by `service.app`: its errors are problem+json, never a page."""

from typing import Any

from fastapi import Depends, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts
from pydantic.json_schema import models_json_schema

from service.api import deps, errors
from service.api.v1 import (
    announcements,
    bulk,
    consents,
    deliveries,
    ledger,
    notices,
    people,
    preferences,
    topics,
)
from service.ops.house import House

MOUNTED_AT = "/api"
_TITLE = "Bidden"
_ABOUT = "Who agreed to what, and mail that was asked for. Errors are problem+json with a stable `code`."
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "field", "fix"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "The stable word for programs."},
        "detail": {"type": "string"},
        "field": {"type": ["string", "null"], "description": "Which field, as `consents[0].evidence.at`."},
        "fix": {"type": ["string", "null"], "description": "How to mend it."},
    },
}
_NOTHING = Dependant()
_REFUSALS = {
    "400": "The body cannot be read.",
    "401": "No key, or one that is not known.",
    "403": "The key may not do that.",
    "404": "There is nothing here by that name.",
    "409": "That does not fit the present state.",
    "413": "The body is too large.",
    "422": "A field is not right.",
    "429": "Too often.",
}


def build(house: House) -> FastAPI:
    """The app for one installation."""
    app = FastAPI(
        title=_TITLE, description=_ABOUT, docs_url=None, redoc_url=None, openapi_url="/openapi.json"
    )
    app.state.house = house
    errors.install(app)
    for part in (bulk, people, preferences, consents, topics, announcements, deliveries, notices, ledger):
        app.include_router(part.router, prefix="/v1", dependencies=[Depends(deps.known_parameters)])
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    return app


def _described(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1 of the whole API, paths in full, with the bodies and refusals every route shares."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version="1", description=app.description, routes=app.routes)
        document["paths"] = {MOUNTED_AT + path: item for path, item in document["paths"].items()}
        schemas = document["components"].setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas["Problem"] = _PROBLEM
        _describe_bodies(app, document, schemas)
        for item in document["paths"].values():
            for operation in item.values():
                operation["responses"] = {**_without_422(operation["responses"]), **_refusals()}
        app.openapi_schema = document
    return app.openapi_schema


def _without_422(responses: dict[str, Any]) -> dict[str, Any]:
    return {status: said for status, said in responses.items() if status != "422"}


def _refusals() -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": said, "content": content} for status, said in _REFUSALS.items()}


def _describe_bodies(app: FastAPI, document: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Bodies are read by our own dependency (`deps.body`), so the framework does not know them."""
    read = {(path, method): model for path, methods, model in _bodies(app) for method in methods}
    models = sorted(set(read.values()), key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas.update(definitions.get("$defs", {}))
    for (path, method), model in read.items():
        schema = {"$ref": f"#/components/schemas/{model.__name__}"}
        operation = document["paths"][MOUNTED_AT + path][method.lower()]
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}, "required": True}


def _bodies(app: FastAPI) -> list[tuple[str, set[str], type[Any]]]:
    found = []
    for route in iter_route_contexts(app.routes):
        for inner in getattr(route.original_route, "dependant", _NOTHING).dependencies:
            model = getattr(inner.call, "model", None)
            if model is not None and route.path and route.methods:
                found.append((route.path, route.methods, model))
    return found
