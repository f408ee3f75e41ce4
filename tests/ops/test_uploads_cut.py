"""A disk that fills while a file is kept: half a file is none."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from service.kit import sealing
from service.kit.signing import Keyring
from service.ops import uploads
from tests import builders as make


def test_half_a_file_is_none(
    engine: Engine, ring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, sealed = make.a_house(engine, ring, tmp_path), sealing.seal

    def full(key: bytes, plain: bytes, place: str) -> Any:
        if place.endswith("|1"):
            raise OSError(28, "No space left on device")
        return sealed(key, plain, place)

    monkeypatch.setattr(sealing, "seal", full)
    with pytest.raises(OSError, match="No space"):
        uploads.keep(house, "i_1", b"email\n" * uploads.PART)
    with pytest.raises(uploads.UploadGone):
        uploads.opened(house, "i_1")
    assert list((house.settings.data_dir / "imports").iterdir()) == []
