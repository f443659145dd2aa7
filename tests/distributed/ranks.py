"""The ranks that the tests share; see `dskc.runtime.ranks`."""

from __future__ import annotations

from dskc.runtime.ranks import RankError, run

__all__ = ["RankError", "run"]
