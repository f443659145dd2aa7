"""Most bytes in tensors while a generated program trains two steps, on fake tensors of a GPU.

    python benchmarks/fake/measure.py FOLDER...     one line of JSON for each program

`train.py` runs as it is; only its data, its checkpoints, its records and its reading of numbers are stood in for.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))
import cuda

cuda.install()

import torch  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402


class Tracker(TorchDispatchMode):
    """Bytes of all storages that were made inside and are alive; `peak` is the most of them, `at` the op then."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.at = ""
        self.known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self.log: list[tuple[str, int]] = []
        self.held: dict[str, int] = {}
        self.kinds: dict[str, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._fused_sgd_.default:  # works in place, and has no fake kernel
            return None
        try:
            result = func(*args, **(kwargs or {}))
        except AssertionError as error:
            raise RuntimeError(f"{func} has no fake kernel") from error
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.device.type == "cuda":
                self.add(leaf.untyped_storage())
        if not str(func).startswith("prim"):
            self.log.append((str(func), self.now))
        if self.now > self.peak:
            self.peak, self.at = self.now, f"{func} ({len(self.log)})"
            self.held = {name: sum(t.untyped_storage().nbytes() for t in f()) for name, f in self.kinds.items()}
        return result

    def add(self, storage: Any) -> None:
        if storage in self.known:
            return
        size = storage.nbytes()
        self.known[storage] = size
        self.now += size
        weakref.finalize(storage, self.release, size)

    def release(self, size: int) -> None:
        self.now -= size


class Batches:
    """Stands for the data: fake batches of the declared inputs."""

    def __init__(self, inputs: list[tuple[str, list[Any], str]], place: torch.device) -> None:
        self.inputs, self.device = inputs, place

    def __len__(self) -> int:
        return 1 << 20

    def batch(self, _start: int, size: int) -> dict[str, torch.Tensor]:
        found = {}
        for name, shape, kind in self.inputs:
            dims = [size if dim == "B" else dim for dim in shape]
            dtype = torch.int64 if kind == "int" else torch.float32
            found[name] = torch.empty(dims, dtype=dtype, device=self.device)
        return found

    def in_order(self, size: int) -> Iterator[dict[str, torch.Tensor]]:
        yield self.batch(0, size)


def load(folder: Path) -> ModuleType:
    """The program's `train.py`, with its own `model.py`."""
    for name in ("model", "parallel", "train"):
        sys.modules.pop(name, None)
    sys.path.insert(0, str(folder))
    try:
        described = importlib.util.spec_from_file_location("train", folder / "train.py")
        assert described is not None
        assert described.loader is not None
        module = importlib.util.module_from_spec(described)
        sys.modules["train"] = module
        described.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(folder))


@contextmanager
def stood_in(program: ModuleType, inputs: Any, tracker: Tracker, place: torch.device) -> Iterator[None]:
    """Replaces what reads or writes anything outside the device."""
    position = SimpleNamespace(step=0, samples=0)
    log = mock.MagicMock()
    made: dict[str, Any] = {}
    build = program.build_optimizer

    def building(model: Any) -> Any:
        made["model"], made["optimizer"] = model, build(model)
        return made["optimizer"]

    tracker.kinds = {
        "parameters": lambda: list(made["model"].parameters()) if made else [],
        "gradients": lambda: [p.grad for p in made["model"].parameters() if p.grad is not None] if made else [],
        "optimizer": lambda: [
            t for s in made["optimizer"].state.values() for t in s.values() if isinstance(t, torch.Tensor)
        ] if made else [],
    }  # fmt: skip
    data = Batches(inputs, place)
    given = (data, data, mock.MagicMock())
    count = str(program.load_data.__annotations__["return"]).count(",") + 1
    patches: dict[str, Any] = {
        "load_data": lambda place: given[:count] if count > 1 else data,
        "build_optimizer": building,
        "guard": SimpleNamespace(finite=lambda step, **values: dict.fromkeys(values, 0.0)),
        "record": SimpleNamespace(Record=lambda *a, **k: log),
        "checkpoint": SimpleNamespace(
            Checkpoints=lambda *a, **k: SimpleNamespace(restore=lambda *a: position, save=lambda *a, **k: None)
        ),
        "validate": lambda model, validation: {},
        "write_sample": lambda *a: None,
        "evaluate": SimpleNamespace(mean=lambda *a: {}),
        "device": mock.MagicMock(),
    }
    with mock.patch.multiple(program, **{name: value for name, value in patches.items() if hasattr(program, name)}):
        yield


def itself(model: Any, *_: Any) -> Any:
    """The model, which is made on the device."""
    return model


def measure(folder: Path) -> dict[str, Any]:
    """Peak of the second step, when the optimizer has its state; the first comes with it."""
    inputs = json.loads((folder / "inputs.json").read_text("utf-8"))
    place = torch.device("cuda", 0)
    with FakeTensorMode(allow_non_fake_inputs=True):
        program = load(folder)
        tracker = Tracker()
        model = next(v for v in vars(sys.modules["model"]).values() if isinstance(v, type) and hasattr(v, "objectives"))
        with (
            stood_in(program, inputs, tracker, place),
            mock.patch.object(model, "initialize"),
            mock.patch.object(model, "to", itself),
            tracker,
            place,
        ):
            program.train(folder / "run", 2, place)
    result = {"case": folder.name, "peak": tracker.peak, "at": tracker.at, **tracker.held}
    if "--log" in sys.argv:
        (folder / "log.txt").write_text("\n".join(f"{i} {n} {name}" for i, (name, n) in enumerate(tracker.log)))
    return result


if __name__ == "__main__":
    for name in sys.argv[1:]:
        if not name.startswith("--"):
            print(json.dumps(measure(Path(name).resolve())), flush=True)
