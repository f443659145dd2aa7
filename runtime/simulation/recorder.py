"""Records every collective and message of a rank, below autograd, where none escapes."""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import FakeWork, ProcessGroup, Work, _resolve_process_group
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import RunError
from .events import Call, Event, Record, Wait
from .shapes import VIEWS, Shapes, view

# Of each op of c10d: what it is, which argument is the group, which holds the whole value (see `events`).
GROUPED = {
    "allreduce_": ("all_reduce", 1, 0),
    "allreduce_coalesced_": ("all_reduce", 1, 0),
    "_allgather_base_": ("all_gather", 2, 0),
    "allgather_": ("all_gather", 2, 0),
    "allgather_coalesced_": ("all_gather", 2, 0),
    "allgather_into_tensor_coalesced_": ("all_gather", 2, 0),
    "_reduce_scatter_base_": ("reduce_scatter", 2, 1),
    "reduce_scatter_": ("reduce_scatter", 2, 1),
    "reduce_scatter_tensor_coalesced_": ("reduce_scatter", 2, 1),
    "alltoall_base_": ("all_to_all", 2, 1),
    "alltoall_": ("all_to_all", 2, 1),
    "broadcast_": ("broadcast", 1, 0),
    "reduce_": ("reduce", 1, 0),
    "gather_": ("gather", 2, 0),
    "scatter_": ("scatter", 2, 1),
    "barrier": ("barrier", 1, None),
}
# The functional ones: what it is, and which argument is the name of the group; the first holds the value.
FUNCTIONAL = {
    "all_reduce": ("all_reduce", 2),
    "all_reduce_": ("all_reduce", 2),
    "all_reduce_coalesced": ("all_reduce", 2),
    "all_reduce_coalesced_": ("all_reduce", 2),
    "all_gather_into_tensor": ("all_gather", 2),
    "all_gather_into_tensor_out": ("all_gather", 2),
    "all_gather_into_tensor_coalesced": ("all_gather", 2),
    "reduce_scatter_tensor": ("reduce_scatter", 3),
    "reduce_scatter_tensor_coalesced": ("reduce_scatter", 3),
    "all_to_all_single": ("all_to_all", 3),
    "broadcast": ("broadcast", 2),
    "broadcast_": ("broadcast", 2),
}
_DEVICE, _NUMBER = torch.ops.prim.device.default, torch.ops.aten._local_scalar_dense.default
NO_VALUE = {"wait_tensor"}
ORIGIN = re.compile(r"# (\S+\.dsk:\d+)$")
FSDP = "_fsdp_param_group.py"
REDUCTIONS = ("sum", "avg", "product", "min", "max", "band", "bor", "bxor")


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what other ranks have to take part in; `folder` is that of the program, for the lines in the record.

    A number that the program asks of a tensor (`.item()`, `float(loss)`) is 1 where tensors hold no values.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._folder = None if folder is None else str(folder.resolve())
        self._events: list[Event] = []
        self._calls = 0
        self._launch: int | None = None
        self._once = False
        self._labels: dict[int, tuple[Tensor, str]] = {}
        self._shapes = Shapes()

    @property
    def record(self) -> Record:
        """What was recorded so far."""
        return tuple(self._events)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Notes a collective and goes on."""
        if func is _DEVICE and isinstance(args[0], FakeTensor):
            return args[0].fake_device  # by far the most frequent
        if func is _NUMBER and isinstance(args[0], FakeTensor):
            return _one(args[0].dtype)
        if func in VIEWS and type(args[0]) is FakeTensor:
            return view(func, args, kwargs or {})
        key = self._shapes.key(func, args, kwargs or {})
        known = self._shapes.of(key, args) if key is not None else None
        if known is not None:
            return known
        number = self._note(func, args) if "c10d" in func.namespace else None
        result = func(*args, **(kwargs or {}))
        if key is not None:
            self._shapes.learn(key, result)
        if number is not None and func.namespace == "c10d":
            work = Work.unbox(result[1] if isinstance(result, tuple) else result)
            if isinstance(work, FakeWork):
                work.seq_id = number
        return result

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here; saying so to each call costs more than most of them

    def _note(self, func: Any, args: tuple[Any, ...]) -> int | None:
        name = func._opname
        if func.namespace == "_c10d_functional" and name in NO_VALUE:
            return None
        if func.namespace == "c10d" and name in ("send", "recv_"):
            return self._message(name.rstrip("_"), *args[:4])
        if func.namespace == "c10d" and name in GROUPED:
            kind, group, value = GROUPED[name]
            tensors = [] if value is None else list(_tensors(args[value]))
            return self._collective(kind, ProcessGroup.unbox(args[group]), tensors, args)
        if func.namespace == "_c10d_functional" and name in FUNCTIONAL:
            kind, group = FUNCTIONAL[name]
            process_group = _resolve_process_group(args[group])
            times = process_group.size() if kind == "all_gather" else 1
            return self._collective(kind, process_group, list(_tensors(args[0])), args, times)
        raise RunError(f"{func} is a collective that the recorder does not know")

    def _collective(self, kind: str, group: Any, tensors: list[Tensor], args: tuple[Any, ...], times: int = 1) -> int:
        ranks = tuple(dist.get_process_group_ranks(group))
        size = sum(_bytes(tensor) for tensor in tensors) * times
        dtype = _format(tensors[0].dtype) if tensors else ""
        return self._add(Call(kind, ranks, group.group_name, size, dtype, _detail(kind, args), *self._context()))

    def _message(self, kind: str, tensors: list[Tensor], boxed: Any, peer: int, _tag: int) -> int:
        group = ProcessGroup.unbox(boxed)
        ranks = dist.get_process_group_ranks(group)
        me, other = ranks[group.rank()], ranks[peer]
        ends = (me, other) if kind == "send" else (other, me)
        size, dtype = sum(map(_bytes, tensors)), _format(tensors[0].dtype)
        detail = self._labels.get(id(tensors[0]), (None, ""))[1]
        return self._add(Call(kind, ends, group.group_name, size, dtype, detail, *self._context()))

    def _add(self, call: Call) -> int:
        self._events.append(call)
        self._calls += 1
        return self._calls - 1

    def _context(self) -> tuple[str, int | None, bool]:
        return self._where(), self._launch, self._once

    def _where(self) -> str:
        """The innermost line of the program; the module whose parameters FSDP2 moves; whether it is backward."""
        line = module = ""
        frame: FrameType | None = sys._getframe(3)
        while frame is not None and not (line and module):
            code = frame.f_code
            if not line and self._folder and code.co_filename.startswith(self._folder):
                line = _place(code.co_filename, frame.f_lineno)
            if not module and code.co_filename.endswith(FSDP):
                module = getattr(frame.f_locals.get("self"), "_module_fqn", None) or "the root"
            frame = frame.f_back
        backward = "backward" if torch._C._current_autograd_node() is not None else ""
        return " ".join(word for word in (line, f"for {module}" if module else "", backward) if word)

    def wait(self, number: int) -> None:
        """Notes that the rank waits for its call `number`."""
        self._events.append(Wait(number))

    def label(self, tensor: Tensor, text: str) -> None:
        """Says what a message is that will be sent from, or received in, a tensor."""
        self._labels[id(tensor)] = (tensor, text)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Messages of this block are started together."""
        self._launch = self._calls
        yield
        self._launch = None

    @contextmanager
    def starting(self) -> Iterator[None]:
        """What this block moves belongs to the start of a run."""
        self._once = True
        yield
        self._once = False


@cache
def _place(file: str, line: int) -> str:
    """`model.py:57 (gpt.dsk:14)`: a line of the program, and that of the spec where a comment there says so."""
    place = f"{Path(file).name}:{line}"
    for above in range(3):
        found = ORIGIN.search(linecache.getline(file, line - above).rstrip())
        if found:
            return f"{place} ({found[1]})"
    return place


def _one(dtype: torch.dtype) -> bool | int | float:
    if dtype == torch.bool:
        return True
    return 1.0 if dtype.is_floating_point else 1


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _format(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _is_reduction(value: Any) -> bool:
    return bool(value._has_method("op"))


def _detail(kind: str, args: tuple[Any, ...]) -> str:
    """The reduction, the root, or the sizes of unequal blocks: what the members of a group have to agree on."""
    if kind in ("all_reduce", "reduce_scatter", "reduce"):
        words = [each for each in args if isinstance(each, str)]
        boxed: list[Any] = [each for each in args if isinstance(each, torch.ScriptObject) and _is_reduction(each)]
        return words[0] if words else REDUCTIONS[boxed[0].op()] if boxed else ""
    if kind == "broadcast":
        return f"from {next(each for each in args if isinstance(each, int))}"
    return ""
