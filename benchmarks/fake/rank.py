"""One rank of a program for several, alone: the fake process group of `dskc.runtime.simulation` on the fake GPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.distributed.tensor._sharding_prop import ShardingPropagator
from tracker import Tracker

from dskc.runtime.simulation.forked import forked
from dskc.runtime.simulation.program import trained
from dskc.runtime.simulation.recorder import Recorder

STEPS = 2
"""In the second step the optimizer has its state; the first of replicated data has its buckets later."""


class Stream:
    """A stream, or an event, of a device where everything is done at once."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def record(self, *_: Any) -> Stream:
        return self

    record_event = record

    def nothing(self, *_: Any) -> None:
        pass

    wait_event = wait_stream = wait = synchronize = record_stream = nothing


def measure(folder: Path) -> dict[str, Any]:
    """Peak of the steps on the rank that `rank.json` names; a process of its own, since torch keeps meshes."""
    about = json.loads((folder / "rank.json").read_text("utf-8"))
    found: dict[str, Any] = forked(partial(_measured, folder, about["rank"], about["world"]))
    return found


def _measured(folder: Path, rank: int, world: int) -> dict[str, Any]:
    tracker, place = Tracker(), torch.device("cuda", 0)
    with ExitStack() as stack:
        for patch in _patches(tracker):
            stack.enter_context(patch)
        trained(folder, rank, world, STEPS, place, _inside(tracker, place))
    return {"case": folder.name, "peak": tracker.peak, "at": tracker.at}


@contextmanager
def _inside(tracker: Tracker, place: torch.device) -> Iterator[None]:
    with tracker.watching(), tracker, place:
        yield


def _patches(tracker: Tracker) -> Iterator[Any]:
    """What CPU builds refuse to give: streams of a GPU, and its name."""
    stream = Stream()
    for name in ("Stream", "Event"):
        yield mock.patch.object(torch.cuda, name, Stream)
    yield mock.patch.object(torch.cuda, "current_stream", return_value=stream)
    yield mock.patch.object(torch.cuda, "stream", return_value=nullcontext())
    yield mock.patch.object(torch.cuda, "current_device", return_value=0)
    yield mock.patch.object(torch.cuda, "device_count", return_value=1)
    yield mock.patch.object(torch.cuda, "set_device", return_value=None)
    yield mock.patch.object(torch.cuda, "get_rng_state", return_value=None)
    yield mock.patch.object(torch.cuda, "set_rng_state", return_value=None)
    yield mock.patch.object(torch.cuda, "get_device_name", return_value="a GPU that holds nothing")
    yield mock.patch.object(Tensor, "record_stream", lambda *_: None)  # noqa: PT008 (a mock keeps what it is given)
    # The record would keep all that was ever sent.
    yield mock.patch.object(Recorder, "label", lambda *_: None)  # noqa: PT008 (a mock keeps what it is given)
    known = ShardingPropagator._propagate_tensor_meta_non_cached

    def unseen(self: ShardingPropagator, schema: Any) -> Any:
        with tracker.away():
            return known(self, schema)

    # What shape a result has, DTensor asks of fake tensors of the whole size; on a GPU as here they hold nothing.
    yield mock.patch.object(ShardingPropagator, "_propagate_tensor_meta_non_cached", unseen)
