from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test trains and encodes for itself."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("DSKC_CACHE", str(folder))
    return folder
