"""The state of a run in tensors: of the model, the optimizer and the random generators; this rank's blocks of them."""

from __future__ import annotations

from collections.abc import Container, Mapping

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from .layout import Block, Layout, Model, block_of, modules, named_parameters
from .parts import Parts


def model_blocks(model: Model, layout: Layout) -> dict[str, Block]:
    """This rank's part of parameters and saved buffers; one that is shared goes by its first name only."""
    seen: set[int] = set()
    blocks: dict[str, Block] = {}
    for module in modules(model):
        for name, tensor in module.state_dict(keep_vars=True).items():
            if id(tensor) not in seen:
                seen.add(id(tensor))
                blocks[name] = block_of(name, tensor, layout)
    return blocks


def training_blocks(model: Model, optimizer: torch.optim.Optimizer, layout: Layout) -> dict[str, Block]:
    """The optimizer's state as `optimizer/<kind>/<parameter>`, however its groups are laid out, and random states."""
    blocks = {
        f"optimizer/{kind}/{name}": block_of(name, value, layout)
        for name, parameter in named_parameters(model)
        for kind, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }
    for name, state in _random_states().items():
        blocks[_of_rank(name, layout)] = Block(state, tuple(state.shape), (0,) * state.ndim)
    return blocks


Wanted = list[tuple[str, tuple[int, ...], tuple[int, ...]]]
"""Name, start and shape of blocks."""


def wanted_of_model(model: Model, layout: Layout) -> Wanted:
    """What `set_model` reads."""
    return [(name, b.start, tuple(b.local.shape)) for name, b in model_blocks(model, layout).items()]


def wanted_of_training(model: Model, layout: Layout, shapes: Mapping[str, tuple[int, ...]]) -> Wanted:
    """What `set_optimizer` and `set_random_states` read of a file with tensors of these shapes."""
    found: Wanted = []
    own = {name: block_of(name, parameter, layout) for name, parameter in named_parameters(model)}
    for path, shape in shapes.items():
        block = own.get(path.split("/", 2)[-1]) if path.startswith("optimizer/") else None
        if block is not None and shape == block.whole:
            found.append((path, block.start, tuple(block.local.shape)))
        elif block is not None:
            found.append((path, (0,) * len(shape), shape))
    states = [_random_name(name, layout, shapes) for name in _random_states()]
    return found + [(name, (0,) * len(shapes[name]), shapes[name]) for name in states if name in shapes]


@torch.no_grad()
def set_model(model: Model, layout: Layout, file: Parts) -> None:
    """Gives the model its tensors back."""
    for name, block in model_blocks(model, layout).items():
        if block.local.numel():
            block.local.copy_(file.read(name, block.start, block.local.shape))


def set_optimizer(model: Model, optimizer: torch.optim.Optimizer, layout: Layout, file: Parts) -> None:
    """Gives each parameter its state back; the groups keep the settings they were built with."""
    saved: dict[str, list[tuple[str, str]]] = {}
    for path in file.names():
        if path.startswith("optimizer/"):
            _, kind, name = path.split("/", 2)
            saved.setdefault(name, []).append((kind, path))
    optimizer.state.clear()
    for name, parameter in named_parameters(model):
        for kind, path in saved.get(name, ()):
            optimizer.state[parameter][kind] = _state_of(name, parameter, layout, file, path)


def _state_of(name: str, parameter: nn.Parameter, layout: Layout, file: Parts, path: str) -> Tensor:
    block = block_of(name, parameter, layout)
    if file.shape(path) != block.whole:
        # AdamW's step counter stays a float32 scalar; with the fused kernel it lies beside its parameter.
        return file.read(path).to(block.local.device)
    # In memory as the parameter is: fused kernels go through both side by side, whatever their strides.
    value = torch.empty_like(block.local)
    if value.numel():
        saved = file.read(path, block.start, block.local.shape)
        value = torch.empty_like(block.local, dtype=saved.dtype).copy_(saved)
    if not isinstance(parameter, DTensor):
        return value
    mesh, placements = parameter.device_mesh, parameter.placements
    return DTensor.from_local(
        value, mesh, placements, run_check=False, shape=parameter.shape, stride=parameter.stride()
    )


def _random_states() -> dict[str, Tensor]:
    """The states of PyTorch's global generators, which dropout draws from."""
    states: dict[str, Tensor] = {"random/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random/cuda"] = torch.cuda.get_rng_state()
    return states


def _of_rank(name: str, layout: Layout) -> str:
    return name if layout.mesh.rank == 0 else f"{name}/{layout.mesh.rank}"


def _random_name(name: str, layout: Layout, names: Container[str]) -> str:
    """What a rank reads: its own state, or that of the first where it had none when the file was written."""
    own = _of_rank(name, layout)
    return own if own in names else name


def set_random_states(layout: Layout, file: Parts) -> None:
    """Puts PyTorch's global generators back; a state of a kind of device that is not here is passed over.

    A rank that had none of its own when the file was written takes that of the first.
    """
    names = set(file.names())
    for name in _random_states():
        own = _random_name(name, layout, names)
        if own in names:
            put = torch.set_rng_state if name == "random/cpu" else torch.cuda.set_rng_state
            put(file.read(own))
