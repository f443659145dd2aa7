from __future__ import annotations

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # the tensors here are too small to share, and waiting for other cores costs more


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test trains and encodes for itself."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("DSKC_CACHE", str(folder))
    return folder
