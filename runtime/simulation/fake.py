"""One rank of many, alone: a process group that moves nothing and tensors that hold nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FakeWork
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining import schedules, stage
from torch.distributed.pipelining._utils import InferenceMode

from ..errors import RunError
from .recorder import Recorder


@contextmanager
def alone(rank: int, world: int, folder: Path | None = None) -> Iterator[Recorder]:
    """This process is rank `rank` of `world` ranks inside the block; tensors made there have no memory.

    Gives the recorder of what the rank says to the others. Received values and results of collectives have the right
    shape and no content. A process is one rank only, since torch keeps meshes: see `forked`.
    """
    if dist.is_initialized():
        raise RunError("a simulation needs a process that belongs to no process group yet")
    dist.init_process_group("fake", rank=rank, world_size=world)
    recorder = Recorder(folder)
    try:
        with ExitStack() as stack:
            for patch in _patches(recorder):
                stack.enter_context(patch)
            stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
            stack.enter_context(recorder)
            yield recorder
    finally:
        dist.destroy_process_group()


def _patches(recorder: Recorder) -> Iterator[Any]:
    """Puts the recorder in the places of torch that know what the calls themselves do not say."""
    yield mock.patch.object(FakeWork, "wait", _waited(recorder))
    yield mock.patch.object(DeviceMesh, "__init__", _real_ranks())
    # Modules that move to a device swap tensors, which is refused to those that the fake mode remembers.
    yield mock.patch.object(torch.utils, "weakref", SimpleNamespace(getweakrefs=lambda _: ()))
    batch = dist.batch_isend_irecv

    def together(ops: list[dist.P2POp]) -> list[dist.Work]:
        with recorder.together():
            return batch(ops)

    yield mock.patch.object(dist, "batch_isend_irecv", together)
    yield mock.patch.object(schedules._PipelineSchedule, "_warmup_p2p", _static_shapes(recorder))
    for name, forward in (("fwd", True), ("bwd", False)):
        for direction in ("send", "recv"):
            yield _labelled(recorder, f"get_{name}_{direction}_ops", forward, direction == "send")


def _waited(recorder: Recorder) -> Callable[..., bool]:
    def wait(work: FakeWork, *_: Any) -> bool:
        recorder.wait(work.seq_id)
        return True

    return wait


def _real_ranks() -> Callable[..., None]:
    """A mesh reads its ranks from a tensor: one that holds values. `init_device_mesh` numbers them from 0."""
    original = DeviceMesh.__init__

    def made(self: DeviceMesh, *args: Any, **kwargs: Any) -> None:
        with unset_fake_temporarily():
            if isinstance(kwargs.get("_rank_map"), FakeTensor):
                kwargs["_rank_map"] = torch.arange(kwargs["_rank_map"].numel(), dtype=torch.int, device="cpu")
            original(self, *args, **kwargs)

    return made


def _static_shapes(recorder: Recorder) -> Callable[..., None]:
    """The stages of a pipeline ask each other, before the first step, whether all know their shapes.

    The answer of another rank cannot be received here: each rank has to know its own, and the ranks are compared.
    """

    def vote(_schedule: Any, stages: list[Any], has_backward: bool, _done: bool) -> None:
        with recorder.starting():
            answer = None
            for each in stages:
                answer = each._warmup_forward_vote(has_backward, received_acc=answer)
            for each in reversed(stages):
                answer = each._warmup_backward_result(received_result=answer)
        for each in stages:
            if InferenceMode.needs_dynamic(each._user_meta, has_backward):
                raise RunError(
                    f"stage {each.stage_index} does not know the shapes that it receives and sends: "
                    "give its PipelineStage `input_args` and `output_args`"
                )
            each._inference_mode = InferenceMode.STATIC

    return vote


def _labelled(recorder: Recorder, name: str, forward: bool, sends: bool) -> Any:
    """Names each message after its edge and micro-batch: both ends have to agree on it, not only on its size."""
    original = getattr(stage._PipelineStageBase, name)

    def ops(self: Any, chunk: int) -> list[dist.P2POp]:
        made: list[dist.P2POp] = original(self, chunk)
        other = self.stage_index + (1 if forward == sends else -1)
        first, second = (self.stage_index, other) if sends else (other, self.stage_index)
        what = "activation" if forward else "gradient"
        for number, op in enumerate(made):
            place = f" {number}" if number else ""
            recorder.label(op.tensor, f"{what}{place} of micro-batch {chunk}, stage {first} to {second}")
        return made

    return mock.patch.object(stage._PipelineStageBase, name, ops)
