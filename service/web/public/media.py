"""`/media/{sha256}.{ext}`: pictures that mails show. The name is the content's hash, so it never changes."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.domain.templates import queries
from service.kit.errors import NotFound
from service.web import deps

router = APIRouter()

_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
}


class PictureUnknown(NotFound):
    """There is no such picture."""


@router.get("/media/{sha256}.{extension}")
async def picture(request: Request, sha256: str, extension: str) -> Response:
    """One picture, for every mail program on any origin."""
    media = await deps.read(deps.house(request), lambda session: queries.media(session, sha256))
    if media is None or media.extension != extension or extension not in _TYPES:
        raise PictureUnknown
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    return Response(media.content, media_type=_TYPES[extension], headers=headers)
