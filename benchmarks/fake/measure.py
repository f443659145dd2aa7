"""Most bytes in tensors while a generated program trains two steps, on fake tensors of a GPU.

    python benchmarks/fake/measure.py FOLDER...     one line of JSON for each program

`train.py` runs as it is; only its data, its checkpoints, its records and its reading of numbers are stood in for.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))
import cuda

cuda.install()

import rank  # noqa: E402
import torch  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from tracker import Tracker  # noqa: E402


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
        "guard": SimpleNamespace(finite=lambda *_: {"loss": 0.0, "gradient_norm": 0.0}),
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


def several(folder: Path) -> bool:
    """Whether the program is for several ranks, of which one is measured."""
    return (folder / "rank.json").exists()


if __name__ == "__main__":
    folders = [Path(name).resolve() for name in sys.argv[1:] if not name.startswith("--")]
    for folder in sorted(folders, key=several, reverse=True):  # before autograd has threads, a process can be copied
        print(json.dumps(rank.measure(folder) if several(folder) else measure(folder)), flush=True)
