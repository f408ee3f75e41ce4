"""Files people upload for an import, until it has ended: sealed in parts under the house key, so that no list of addresses lies
on the disk in clear (P6).

Called by the staff pages. A file lies under DATA_DIR/imports by its import's id; what nobody ran within a week is removed
(`ops.retention`).
"""

import io
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from service.kit import sealing
from service.kit.errors import NotFound
from service.ops.house import House

PART = 256 * 1024  # octets sealed together


class UploadGone(NotFound):
    """That file is not kept any more; please upload it again."""


def keep(house: House, public_id: str, content: bytes) -> None:
    """Seal a file. It is there when it is there as a whole."""
    path = _path(house, public_id)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    coming = path.with_name(f"{path.name}.part")
    try:
        with coming.open("xb") as out:
            coming.chmod(0o600)
            for number, start in enumerate(range(0, len(content), PART)):
                part = content[start : start + PART]
                sealed = sealing.seal(house.ring.house_key, part, _place(public_id, number))
                out.write(len(sealed).to_bytes(4) + sealed)
        coming.rename(path)
    finally:
        coming.unlink(missing_ok=True)


def opened(house: House, public_id: str) -> BinaryIO:
    """The file as it was, opened part by part. Raises `UploadGone`."""
    try:
        raw = _Sealed(house, public_id)
    except FileNotFoundError as gone:
        raise UploadGone from gone
    return io.BufferedReader(raw)


def remove(house: House, public_id: str) -> None:
    """The import has ended, or is not wanted."""
    _path(house, public_id).unlink(missing_ok=True)


def since(house: House, moment: datetime) -> list[Path]:
    """The files that lie there since that moment or longer."""
    found = []
    for path in (house.settings.data_dir / "imports").glob("i_*"):
        with suppress(FileNotFoundError):  # its import has just ended
            if path.stat().st_mtime <= moment.timestamp():
                found.append(path)
    return found


def _path(house: House, public_id: str) -> Path:
    return house.settings.data_dir / "imports" / public_id


def _place(public_id: str, number: int) -> str:
    return f"upload|{public_id}|{number}"


class _Sealed(io.RawIOBase):
    """A sealed file, read from its beginning."""

    def __init__(self, house: House, public_id: str) -> None:
        self._key, self._public_id = house.ring.house_key, public_id
        self._file = _path(house, public_id).open("rb")
        self._number, self._rest = 0, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._rest and (size := self._file.read(4)):
            sealed = self._file.read(int.from_bytes(size))
            self._rest = sealing.unseal(self._key, sealed, _place(self._public_id, self._number))
            self._number += 1
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)

    def close(self) -> None:
        self._file.close()
        super().close()
