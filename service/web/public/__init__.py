"""Readers' pages: everything somebody without an account can see or press. No script, no login to leave."""

from fastapi import APIRouter

from service.web.public import (
    changelog,
    confirm,
    contact,
    copies,
    home,
    join,
    lost_link,
    media,
    policies,
    preferences,
    profile,
    rights,
    unsubscribe,
    why,
)


def routers() -> list[APIRouter]:
    """Every route of this package, for `service.app`."""
    rooms = (
        home,
        join,
        unsubscribe,
        preferences,
        why,
        confirm,
        lost_link,
        profile,
        rights,
        copies,
        contact,
        policies,
        changelog,
        media,
    )
    return [room.router for room in rooms]
