"""Loads the text of `kernels.py`, with its ops as they are, or with each launch called at once, also on a CPU."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

from dskc.runtime import tiles

NUMBERS = itertools.count()


def loaded(text: str, folder: Path, launching: bool = False) -> ModuleType:
    """The module; `launching`: its functions start the kernels whatever the device is."""
    name = f"generated_kernels_{next(NUMBERS)}"
    path = folder / f"{name}.py"
    path.write_text(text, "utf-8")
    described = importlib.util.spec_from_file_location(name, path)
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    sys.modules[name] = module
    if launching:
        with mock.patch.object(tiles, "register", lambda space, schema, launch, reference: launch):
            described.loader.exec_module(module)
    else:
        described.loader.exec_module(module)
    return module
