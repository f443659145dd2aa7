"""What a checkpoint must not be: damaged, of weights that are not finite, of another model."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from . import state, tensorfile, whole
from .errors import RunError
from .guard import NonFiniteError
from .layout import Layout, Model
from .parts import Parts
from .writer import MANIFEST, MODEL, STATE, TRAINING

THREADS = 4  # files that a rank reads at a time


def damage(path: Path, share: int = 0, shares: int = 1) -> str | None:
    """What is wrong with the files of a checkpoint, or None if each has the size and hash of its manifest.

    One of several `shares` looks at the files of its own only.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        missing = [kind for kind in (MODEL, TRAINING, STATE) if not _listed(manifest, kind)]
        if missing:
            return f"its manifest lacks {', '.join(missing)}"
        rows = {name: manifest[name] for name in sorted(manifest)[share::shares]}
        with ThreadPoolExecutor(THREADS) as threads:
            found = list(threads.map(lambda name: _unlike(path / name, rows[name]), rows))
        return next(filter(None, found), None)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is no manifest"


def lengths(path: Path) -> bool:
    """Whether all files of a checkpoint have the sizes that its manifest says; `damage` tells what is wrong."""
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        return all((path / name).stat().st_size == row["bytes"] for name, row in manifest.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _unlike(path: Path, row: dict[str, Any]) -> str | None:
    """How a file differs from what the manifest says of it."""
    size = path.stat().st_size
    if size != row["bytes"]:
        return f"{path.name} has {size:,} bytes instead of {row['bytes']:,}"
    if tensorfile.sha256(path) != row["sha256"]:
        return f"{path.name} has another checksum than when it was written"
    return None


def _listed(manifest: dict[str, object], kind: str) -> bool:
    return any(name.startswith(kind.partition(".")[0]) for name in manifest)


def refuse_non_finite(model: Model, step: int) -> None:
    """A run whose weights are gone has nothing to save."""
    bad = [
        name
        for name, block in state.model_blocks(model, Layout()).items()
        if block.local.is_floating_point() and not torch.isfinite(block.local).all()
    ]
    if bad:
        raise NonFiniteError(f"after step {step} these weights are NaN or infinite: {some(bad)}; nothing was written")


def refuse_other_model(path: Path, ours: whole.Table, file: Parts) -> None:
    """Names and shapes have to be those of the run."""
    theirs = {name: file.shape(name) for name in file.names()}
    differences = {
        "only in the model": [name for name in ours if name not in theirs],
        "only in the checkpoint": [name for name in theirs if name not in ours],
        "of another shape": [
            f"{name} {list(theirs[name])} (the model's is {list(ours[name].shape)})"
            for name in ours
            if name in theirs and theirs[name] != ours[name].shape
        ],
    }
    found = "; ".join(f"{kind}: {some(names)}" for kind, names in differences.items() if names)
    if found:
        raise RunError(
            f"{path} is a checkpoint of another model. {found}. Use another run folder for it, as in --run second"
        )


def some(names: list[str]) -> str:
    """The first few names."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
