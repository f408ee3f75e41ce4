"""What most tests of the API send, and how a refusal must look."""

from typing import Any

BODY = "Hello {{ first_name|default('there') }},\n\nthe new kettle is here.\n\n[See it](https://shop.example.org/kettle)\n"


def said_yes(*topics: str, at: str = "2026-10-02T12:00:00Z", confirmed: bool = True) -> list[dict[str, Any]]:
    """Consent items as a site sends them."""
    item: dict[str, Any] = {"given": True, "source": "signup-form", "evidence": {"at": at, "ip": "192.0.2.7"}}
    if confirmed:
        item["confirmed"] = {"at": at, "method": "double opt-in of the shop"}
    return [{"topic": topic, **item} for topic in topics]


def ana(**more: Any) -> dict[str, Any]:
    return {"email": "ana@example.org", "profile": {"first_name": "Ana"}, **more}


def kettle(**more: Any) -> dict[str, Any]:
    """An announcement to everybody who may get it."""
    content = {"en": {"subject": "The new kettle", "preheader": "It is here", "body": BODY}}
    return {"topic": "new-products", "template": "launch", "content": content, **more}


def assert_problem(answer: Any, status: int, code: str, field: str | None = None) -> None:
    """The answer is problem+json of that status and code."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) >= {"type", "title", "status", "code", "detail", "field", "fix"}
    assert answer.json()["status"] == status
    if field is not None:
        assert answer.json()["field"] == field
