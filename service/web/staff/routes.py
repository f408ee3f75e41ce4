"""Every staff page in one router, for `service.app`. Fixed paths come before those with a name in them."""

from fastapi import APIRouter

from service.web.staff import (
    announcements,
    composer,
    contact,
    evidence,
    exports,
    health,
    home,
    imports,
    inbox,
    keys,
    ledger,
    login,
    members,
    notices,
    people,
    policies,
    publishing,
    reports,
    requests,
    review,
    rights,
    settings,
    templates,
    topics,
)

router = APIRouter(include_in_schema=False)
for part in (
    login,
    home,
    announcements,
    composer,
    review,
    reports,
    notices,
    publishing,
    templates,
    evidence,
    imports,
    exports,
    people,
    rights,
    topics,
    policies,
    contact,
    requests,
    ledger,
    settings,
    members,
    keys,
    inbox,
    health,
):
    router.include_router(part.router)
