"""Weights of Hugging Face folders (`config.json` and safetensors) in and out; no pickle is ever read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor, nn

from . import agree, console, tensorfile, whole
from .errors import RunError
from .huggingface_names import FAMILIES, Family, Piece
from .layout import Layout, block_of
from .tokenizer import Subwords, Tokenizer

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
ONE = "model.safetensors"
SHOWN = 5
"""Names in a message before `and n more`."""


def load(
    model: nn.Module, folder: str | Path, label: str, config: Mapping[str, Any], layout: Layout | None = None
) -> None:
    """Copies a checkpoint into the part of the model called `label`, after comparing its config.json with `config`.

    Each of many ranks reads its own blocks. `RunError` names what is missing, unexpected, of another shape, or set
    otherwise.
    """
    layout = layout or Layout()
    agree.together(lambda: _load(model, Path(folder), label, config, layout), layout.mesh)


def _load(model: nn.Module, folder: Path, label: str, config: Mapping[str, Any], layout: Layout) -> None:
    family = FAMILIES[config["model_type"]]
    _compare(_read_json(folder / CONFIG), config, family, folder)
    pieces = [(piece, block_of(piece.ours, tensor, layout)) for piece, tensor in _pieces(model, label, family)]
    with _Tensors(folder, family) as tensors:
        wanted = {piece.theirs: _shape(piece, block.whole) for piece, block in pieces}
        _check_names(tensors, wanted, family, folder, config["tie_word_embeddings"])
        _check_shapes(tensors, wanted, folder)
        with torch.no_grad():
            for piece, block in pieces:
                place = [slice(a, a + n) for a, n in zip(block.start, block.local.shape, strict=True)]
                block.local.copy_(_ours(tensors[piece.theirs], piece)[tuple(place)])
        if config["tie_word_embeddings"] and family.tied in tensors:
            _check_tied(tensors, family, folder)
    note = f"weights of {len(pieces)} parameters from {folder}"
    others = [name for name, _ in _parameters(model) if not name.startswith(f"{label}.")]
    console.LINE.note(note + (f"; {_listed(others)} keep their start values" if others else ""))


def save(
    model: nn.Module, folder: str | Path, label: str, config: Mapping[str, Any], coder: Tokenizer | None = None,
    layout: Layout | None = None,
) -> None:  # fmt: skip
    """Writes the model as a folder that `transformers` loads, with its tokenizer, and compares what was written.

    A folder that is there is replaced once the new one is whole. Of many ranks the first writes, from memory of its
    host that holds the whole model.
    """
    folder, layout = Path(folder), layout or Layout()
    family = FAMILIES[config["model_type"]]
    pieces = _pieces(model, label, family)
    names = {piece.ours for piece, _ in pieces}
    others = [name for name, _ in _parameters(model) if name not in names]
    if others:
        raise RunError(f"{folder}: transformers' {config['model_type']} has no place for {_listed(others)}")
    blocks = {piece.ours: block_of(piece.ours, tensor, layout) for piece, tensor in pieces}
    table = whole.table(blocks, layout.mesh)
    found: list[tuple[Piece, Tensor]] = []
    if layout.mesh.first:
        tensors = dict(zip(table, whole.gather(table, blocks, layout.mesh), strict=True))
        found = [(piece, tensors[piece.ours]) for piece, _ in pieces]
    else:
        whole.give(table, blocks, layout.mesh)
    agree.together(lambda: _replace(folder, found, family, config, coder) if found else None, layout.mesh)


def _replace(
    folder: Path, pieces: list[tuple[Piece, Tensor]], family: Family, config: Mapping[str, Any], coder: Tokenizer | None
) -> None:
    temporary = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        _write(temporary, _theirs(pieces), config, coder)
        _compare_written(temporary, pieces, family)
        if folder.exists():
            _check_replaceable(folder)
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror or error}; nothing was changed") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    console.LINE.note(f"written for transformers: {folder}")


def _parameters(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters by the first of their names; asked for their state, modules of FSDP let go of what they gathered."""
    found = {id(tensor): (name, tensor) for name, tensor in reversed(model.state_dict(keep_vars=True).items())}
    return [each for each in reversed(found.values()) if isinstance(each[1], nn.Parameter)]


def _pieces(model: nn.Module, label: str, family: Family) -> list[tuple[Piece, Tensor]]:
    """The parameters of the part of the model, each with its place there."""
    table = {piece.ours: piece for piece in family.pieces}
    found = []
    for name, parameter in _parameters(model):
        if not name.startswith(f"{label}."):
            continue
        parts = name.removeprefix(f"{label}.").split(".")
        number = next((part for part in parts if part.isdigit()), "")
        piece = table.get(".".join("*" if part.isdigit() else part for part in parts))
        if piece is None:
            raise RunError(f"{name} has no name in a Hugging Face checkpoint")
        theirs = piece.theirs.replace("*", number)
        found.append((piece._replace(ours=name, theirs=theirs), parameter))
    return found


def _shape(piece: Piece, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the tensor there."""
    shape = shape[::-1] if piece.transposed else shape
    return (*shape[:-1], shape[-1] * piece.parts)


def _ours(tensor: Tensor, piece: Piece) -> Tensor:
    tensor = tensor.chunk(piece.parts, -1)[piece.part]
    return tensor.t() if piece.transposed else tensor


def _theirs(pieces: list[tuple[Piece, Tensor]]) -> dict[str, Tensor]:
    """The tensors there; those that hold several parameters joined."""
    joined: dict[str, dict[int, Tensor]] = {}
    for piece, parameter in pieces:
        tensor = parameter.detach().cpu()
        joined.setdefault(piece.theirs, {})[piece.part] = tensor.t() if piece.transposed else tensor
    return {name: torch.cat([parts[i] for i in sorted(parts)], -1).contiguous() for name, parts in joined.items()}


class _Tensors:
    """The tensors of a folder's safetensors files, read one at a time; names with the family's prefix."""

    def __init__(self, folder: Path, family: Family) -> None:
        self.folder = folder
        self.handles: list[Any] = []
        self.places: dict[str, tuple[Any, str]] = {}
        for path in _files(folder):
            try:
                handle = safetensors.safe_open(path, framework="pt")
            except (OSError, safetensors.SafetensorError) as error:
                raise RunError(f"{path} cannot be read: {error}; fetch it again") from error
            self.handles.append(handle)
            self.places |= {name: (handle, name) for name in _names(handle)}
        if family.prefix and not any(name.startswith(family.prefix) for name in self.places):
            self.places = {
                (name if name == family.tied else family.prefix + name): place for name, place in self.places.items()
            }

    def __enter__(self) -> _Tensors:
        return self

    def __exit__(self, *_: object) -> None:
        self.handles.clear()

    def __contains__(self, name: str) -> bool:
        return name in self.places

    def __getitem__(self, name: str) -> Tensor:
        handle, stored = self.places[name]
        tensor: Tensor = handle.get_tensor(stored)
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, which is not read for it."""
        handle, stored = self.places[name]
        return tuple(handle.get_slice(stored).get_shape())


def _names(handle: Any) -> list[str]:
    """Names in an open file, which is no mapping."""
    return list(handle.keys())


def _files(folder: Path) -> list[Path]:
    if (folder / INDEX).is_file():
        shards = _read_json(folder / INDEX).get("weight_map", {})
        names = sorted(set(shards.values())) if isinstance(shards, dict) else []
        for name in names:
            if not isinstance(name, str) or Path(name).name != name:
                raise RunError(f"{folder / INDEX} names {name!r}, which is no file of this folder")
            if not (folder / name).is_file():
                raise RunError(f"{folder} lacks {name}, which {INDEX} names; fetch it again")
        if names:
            return [folder / name for name in names]
        raise RunError(f"{folder / INDEX} names no files")
    if (folder / ONE).is_file():
        return [folder / ONE]
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
        raise RunError(
            f"{folder} holds pickled weights, which can run code when read; convert them where you trust them: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder)"
        )
    raise RunError(f"{folder} holds neither {ONE} nor {INDEX}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} holds no settings")
    return value


def _compare(found: dict[str, Any], config: Mapping[str, Any], family: Family, folder: Path) -> None:
    """`RunError` with both values of every setting that differs."""
    rope = found.get("rope_parameters") or found.get("rope_scaling") or {}
    there = {**family.absent, **found, **{key: value for key, value in rope.items() if key.startswith("rope_")}}
    if "type" in rope:  # older files
        there["rope_type"] = rope["type"]
    heads = there.get("num_attention_heads")
    if there.get("num_key_value_heads") is None:
        there["num_key_value_heads"] = heads
    if there.get("head_dim") is None and heads:
        there["head_dim"] = there.get("hidden_size", 0) // heads
    if "n_embd" in there and there.get("n_inner") is None:
        there["n_inner"] = 4 * there["n_embd"]
    compared = [key for key in config if key not in ("architectures", "max_position_embeddings")]
    wrong = [
        f"  {key}: {there.get(key)!r} in {CONFIG}, {config[key]!r} in the spec"
        for key in compared
        if there.get(key) != config[key]
    ]
    if wrong:
        lines = "\n".join(wrong)
        raise RunError(
            f"{folder} holds another model than the spec:\n{lines}\n`dskc import` writes a spec that fits it"
        )


def _check_names(tensors: _Tensors, wanted: Mapping[str, Any], family: Family, folder: Path, tied: bool) -> None:
    known = {*wanted, *([family.tied] if tied else [])}
    missing = [name for name in wanted if name not in tensors]
    unexpected = [name for name in tensors.places if name not in known and not name.endswith(family.skipped)]
    if missing:
        raise RunError(f"{folder} lacks {_listed(missing)}")
    if unexpected:
        raise RunError(f"{folder} holds {_listed(unexpected)}, which the spec's model does not have")


def _check_shapes(tensors: _Tensors, wanted: Mapping[str, tuple[int, ...]], folder: Path) -> None:
    wrong = [
        f"{name} is {list(tensors.shape(name))}, but the model needs {list(shape)}"
        for name, shape in wanted.items()
        if tensors.shape(name) != shape
    ]
    if wrong:
        raise RunError(f"{folder}: {_listed(wrong)}")


def _check_tied(tensors: _Tensors, family: Family, folder: Path) -> None:
    embedding = family.pieces[0].theirs
    if not torch.equal(tensors[family.tied], tensors[embedding]):
        raise RunError(f"{folder}: {family.tied} differs from {embedding}, but the spec's model ties them")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _write(folder: Path, tensors: dict[str, Tensor], config: Mapping[str, Any], coder: Tokenizer | None) -> None:
    tokens: dict[str, Any] = {"bos_token_id": None, "eos_token_id": coder.end if coder else None}
    tensorfile.write(folder / ONE, tensors, {"format": "pt"})
    settings = {key: value for key, value in config.items() if key != "rope_type"}
    if "rope_theta" in config:  # its place in transformers 5; above is that of transformers 4
        settings["rope_parameters"] = {key: config[key] for key in ("rope_theta", "rope_type")}
    tensorfile.write_json(folder / CONFIG, {**settings, **tokens, "dtype": "float32"})
    if isinstance(coder, Subwords):
        (folder / "tokenizer.json").write_text(coder.inner.to_str(), "utf-8")
        end = coder.inner.id_to_token(coder.end)
        about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end}
        tensorfile.write_json(folder / "tokenizer_config.json", about)


def _compare_written(folder: Path, pieces: list[tuple[Piece, Tensor]], family: Family) -> None:
    with _Tensors(folder, family) as tensors:
        for piece, parameter in pieces:
            if not torch.equal(_ours(tensors[piece.theirs], piece), parameter.detach().cpu()):
                raise RunError(f"{folder}: {piece.theirs} was not written as it is; check the disk")


def _check_replaceable(folder: Path) -> None:
    """Only an earlier export is replaced, never other files."""
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / CONFIG).is_file()):
        raise RunError(f"{folder} holds something else than an earlier export; remove it or export elsewhere")
