"""The version of the compiler."""

from __future__ import annotations

VERSION = "0.1.0"
"""As in pyproject.toml; a test holds them equal. It goes into `plan.json`, installed or not."""
