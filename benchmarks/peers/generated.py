"""The program that dskc writes, its own loop unchanged:  python generated.py PROGRAM_FOLDER NAME

Only what is not the step is replaced: the data are the batches of all contestants, the start values are theirs, and
the record waits for the next turn.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from common import ACCUMULATION, MICRO_BATCH, SEQUENCE, WARMUP, Turns, batch, start_values
from torch import Tensor, nn


class Data:
    """In the place of the packed tokens."""

    device = torch.device("cpu")

    def batch(self, sample: int, count: int) -> dict[str, Tensor]:
        assert count == MICRO_BATCH
        return batch(sample)


class Record:
    """In the place of the progress line and the files."""

    model: nn.Module
    name: str

    def __init__(self, *_: Any, **__: Any) -> None:
        self.turns = Turns(self.name, sum(parameter.numel() for parameter in self.model.parameters()))

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def step(self, _step: int, loss: float, *_: Any) -> None:
        self.turns.step(loss)


def main() -> None:
    """Trains with the program's own `train`."""
    folder, name = Path(sys.argv[1]), sys.argv[2]
    sys.path.insert(0, str(folder))
    import model as model_module  # type: ignore[import-not-found]
    import train as program  # type: ignore[import-not-found]

    sizes = (program.MICRO_BATCH, program.ACCUMULATION, program.SEQUENCE, program.WARMUP)
    assert sizes == (MICRO_BATCH, ACCUMULATION, SEQUENCE, WARMUP), "the example has changed: change the peers with it"

    def initialize(self: nn.Module, _seed: int) -> None:
        self.load_state_dict(start_values(), strict=False)
        assert set(dict(self.named_parameters())) == set(start_values())
        Record.model = self

    model_module.Gpt.initialize = initialize
    program.load_data = lambda _place: (Data(), Data(), None)
    program.record.Record = Record
    Record.name = name
    program.train(folder / "run-of-benchmark", None, torch.device("cpu"))


if __name__ == "__main__":
    main()
