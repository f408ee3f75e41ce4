"""The changelog for feed readers: Atom (RFC 4287) and JSON Feed 1.1. Called by the public changelog page.

Both are built from entries already read; an entry's id comes from the notice alone, so a renamed host makes
nothing new.
"""

import json
import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

from service.domain.notices.queries import Entry
from service.mail.markdown import at_home

ATOM = "http://www.w3.org/2005/Atom"
PATH, ATOM_PATH, JSON_PATH = "/changelog", "/changelog/feed.atom", "/changelog/feed.json"
_NAMES = uuid.UUID("6f3f2f6a-0c3c-5a0e-9b1d-3f1f5f0c7f52")  # our own name space; it never changes
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 section 2.2


def atom(entries: Sequence[Entry], *, base_url: str, title: str) -> bytes:
    """The Atom document, in UTF-8. `base_url` without a slash at its end; `title` is the brand's name."""
    feed = ET.Element(f"{{{ATOM}}}feed")
    _add(feed, "id", _urn(base_url + PATH))
    _add(feed, "title", title)
    _add(
        feed,
        "updated",
        _instant(max((_changed(entry) for entry in entries), default=datetime(1970, 1, 1, tzinfo=UTC))),
    )
    _add(feed, "link", rel="self", type="application/atom+xml", href=base_url + ATOM_PATH)
    _add(feed, "link", rel="alternate", type="text/html", href=base_url + PATH)
    _add(_add(feed, "author"), "name", title)
    for entry in entries:
        _atom_entry(feed, entry, base_url)
    ET.register_namespace("", ATOM)
    document: bytes = ET.tostring(feed, encoding="utf-8", xml_declaration=True)
    return document


def _atom_entry(feed: ET.Element, entry: Entry, base_url: str) -> None:
    one = _add(feed, "entry")
    one.set("{http://www.w3.org/XML/1998/namespace}lang", entry.locale)
    _add(one, "id", _urn(entry.public_id))
    _add(one, "title", entry.title)
    _add(one, "published", _instant(entry.published_at))
    _add(one, "updated", _instant(_changed(entry)))
    _add(one, "link", rel="alternate", type="text/html", href=_url(entry, base_url))
    _add(one, "category", term=entry.topic, label=entry.topic_name)
    _add(one, "content", at_home(entry.html, base_url), type="html")


def json_feed(entries: Sequence[Entry], *, base_url: str, title: str) -> bytes:
    """The JSON Feed document (jsonfeed.org/version/1.1), in UTF-8."""
    feed = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": title,
        "home_page_url": base_url + PATH,
        "feed_url": base_url + JSON_PATH,
        "authors": [{"name": title}],
        "items": [_json_item(entry, base_url) for entry in entries],
    }
    return json.dumps(feed, ensure_ascii=False).encode()


def _json_item(entry: Entry, base_url: str) -> dict[str, Any]:
    item = {
        "id": _urn(entry.public_id),
        "url": _url(entry, base_url),
        "title": entry.title,
        "content_html": at_home(entry.html, base_url),
        "date_published": _instant(entry.published_at),
        "language": entry.locale,
        "tags": [entry.topic_name],
    }
    return item | ({"date_modified": _instant(entry.corrected_at)} if entry.corrected_at else {})


def _add(parent: ET.Element, tag: str, text: str = "", **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, f"{{{ATOM}}}{tag}", attributes)
    element.text = _NOT_XML.sub("", text) or None
    return element


def _urn(name: str) -> str:
    """A permanent id (RFC 4287 section 4.2.6) as a UUID made from a name (RFC 9562 section 5.5)."""
    return f"urn:uuid:{uuid.uuid5(_NAMES, name)}"


def _url(entry: Entry, base_url: str) -> str:
    return f"{base_url}{PATH}/{entry.slug}"


def _changed(entry: Entry) -> datetime:
    return entry.corrected_at or entry.published_at


def _instant(at: datetime) -> str:
    """RFC 3339, in UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
