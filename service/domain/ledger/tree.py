"""The Merkle tree over the stored entries: its whole subtrees of 256, 65,536 and 16,777,216 entries are kept, so that a head or a
proof among ten million reads a few hundred hashes. Called by the checkpoints, `bidden ledger prove` and the API.

What is kept is computed from the entries and may be thrown away; nobody is asked to believe it.
"""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlmodel import Session, col

from service.db.locks import insert_or_skip
from service.domain.ledger import queries
from service.domain.ledger.tables import LedgerEntry, LedgerNode
from service.kit import merkle

WIDTH = 8  # a kept subtree is 2^8 times as wide as those below it
HEIGHTS = (8, 16, 24)
TILE = 1 << WIDTH
AT_ONCE = 64  # tiles computed at once: some sixteen thousand entries


class Tree:
    """The tree over the stored entries: subtrees out of what is kept, a few hundred hashes for any proof."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kept: dict[int, int] = {}
        self._tiles: dict[tuple[int, int], list[str]] = {}
        self._nodes: dict[tuple[int, int], str] = {}

    def node(self, start: int, end: int) -> str:
        """The hash over the entries after number `start` up to number `end` (`merkle.Node`). Raises IndexError where one is missing."""
        if (start, end) not in self._nodes:
            self._nodes[start, end] = self._node(start, end)
        return self._nodes[start, end]

    def _node(self, start: int, end: int) -> str:
        width = end - start
        if width == 0:
            return merkle.EMPTY
        if width == 1:
            return self._tile(0, start)
        height = width.bit_length() - 1
        if height in HEIGHTS and width == 1 << height and start >> height < self._places(height):
            return self._tile(height, start >> height)
        middle = start + merkle.split(width)
        return merkle.node_hash(self.node(start, middle), self.node(middle, end))

    def _places(self, height: int) -> int:
        if height not in self._kept:
            self._kept[height] = _places(self._session, height)
        return self._kept[height]

    def _tile(self, height: int, place: int) -> str:
        """The kept hash number `place` of a height, with its 255 neighbours at once."""
        tile = place // TILE
        if (height, tile) not in self._tiles:
            self._tiles[height, tile] = _tile(self._session, height, tile)
        return self._tiles[height, tile][place % TILE]


def _places(session: Session, height: int) -> int:
    """How many subtrees of a height are kept; they are kept without gaps."""
    last = select(func.max(col(LedgerNode.place))).where(col(LedgerNode.height) == height)
    found = session.connection().execute(last).scalar()
    return 0 if found is None else int(found) + 1


def _tile(session: Session, height: int, tile: int) -> list[str]:
    first = tile * TILE
    if height:
        kept = select(col(LedgerNode.hash)).where(
            col(LedgerNode.height) == height, col(LedgerNode.place).between(first, first + TILE - 1)
        )
        statement = kept.order_by(col(LedgerNode.place))
    else:
        kept = select(col(LedgerEntry.hash)).where(col(LedgerEntry.seq).between(first + 1, first + TILE))
        statement = kept.order_by(col(LedgerEntry.seq))
    return list(session.connection().execute(statement).scalars())


def unkept(session: Session, most: int = AT_ONCE) -> list[LedgerNode]:
    """The next subtrees to keep, at most so many of the lowest height; empty when all are kept. Only reads."""
    size, _ = queries.tail(session)
    begin = _places(session, WIDTH)
    rows = [
        LedgerNode(height=WIDTH, place=place, hash=merkle.root(_tile(session, 0, place)))
        for place in range(begin, min(size // TILE, begin + most))
    ]
    for height in HEIGHTS[1:]:
        rows += _above(session, height, [one for one in rows if one.height == height - WIDTH])
    return rows


def _above(session: Session, height: int, fresh: Sequence[LedgerNode]) -> list[LedgerNode]:
    """The subtrees of a height that these of the height below complete."""
    rows = []
    hashes = {one.place: one.hash for one in fresh}
    for tile in range(_places(session, height), (fresh[-1].place + 1) // TILE if fresh else 0):
        below = _tile(session, height - WIDTH, tile)
        below += [hashes[place] for place in range(tile * TILE + len(below), (tile + 1) * TILE)]
        rows.append(LedgerNode(height=height, place=tile, hash=merkle.root(below)))
    return rows


def keep(session: Session, rows: Sequence[LedgerNode]) -> None:
    """Keep subtrees; what another process has kept meanwhile stays."""
    values = [{"height": one.height, "place": one.place, "hash": one.hash} for one in rows]
    session.connection().execute(insert_or_skip(session, LedgerNode, ["height", "place"]), values)


def wrong(session: Session, tiles: Sequence[bytes]) -> int | None:
    """The number of the first entry under a kept subtree that is not what the entries say (`tiles`: the roots of each 256 of
    them), None when all are."""
    hashes = [one.hex() for one in tiles]
    for height in HEIGHTS:
        for tile in range(-(-_places(session, height) // TILE)):
            for place, kept in enumerate(_tile(session, height, tile), tile * TILE):
                if place >= len(hashes) or kept != hashes[place]:
                    return (place << height) + 1
        hashes = [merkle.root(hashes[n : n + TILE]) for n in range(0, len(hashes) - TILE + 1, TILE)]
    return None
