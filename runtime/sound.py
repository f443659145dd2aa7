"""What a checkpoint must not be: damaged, of weights that are not finite, of another model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from . import state, whole
from .errors import RunError
from .guard import NonFiniteError
from .layout import Layout, Model
from .parts import Parts
from .writer import MANIFEST, MODEL, STATE, TRAINING


def damage(path: Path, share: int = 0, shares: int = 1) -> str | None:
    """What is wrong with the files of a checkpoint, or None if each has the size and hash of its manifest.

    One of several `shares` looks at the files of its own only.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        missing = [kind for kind in (MODEL, TRAINING, STATE) if not _listed(manifest, kind)]
        if missing:
            return f"its manifest lacks {', '.join(missing)}"
        for name in sorted(manifest)[share::shares]:
            expected = manifest[name]
            size = (path / name).stat().st_size
            if size != expected["bytes"]:
                return f"{name} has {size:,} bytes instead of {expected['bytes']:,}"
            with (path / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != expected["sha256"]:
                    return f"{name} has another checksum than when it was written"
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is no manifest"
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
