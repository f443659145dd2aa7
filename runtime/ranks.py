"""Ranks on this machine: gloo processes, started once and used for one function after the other.

    def total(start: int) -> float:                  # at the top of a module: ranks import it by name
        mesh = Mesh(data=2).start(torch.device("cpu"))
        ...
        return x.item()                              # comes back; tensors, arrays, plain containers

    assert ranks.run(total, 2, 10) == [23.0, 23.0]   # on 2 ranks, `total(10)`; one result per rank, in their order

Each run has a process group of its own, made before the function and gone after it, so `Mesh.start` finds its
ranks, whatever the layout. A run fails as a whole, with the traceback of every rank that failed (`RankError`): when
a function raises, when a process dies, and when a rank gives no answer within `timeout` seconds. After a failure all
processes are killed, each by its own id, and the next run starts new ones.

Functions may leave nothing behind: the default dtype, the number of threads, the working directory and the
environment are put back, other global state is not. Each rank computes with one thread.
"""

from __future__ import annotations

import atexit
import importlib
import inspect
import multiprocessing
import os
import pickle
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

TIMEOUT = 120.0  # seconds
RUNS = 30  # of one set of processes: torch leaves threads of past process groups behind, by the hundred
GRACE = 5.0  # seconds that the other ranks have to fail as well, once one has
PRELOAD = [
    "torch",
    "torch.distributed",
    "torch.distributed.device_mesh",
    "torch.distributed.fsdp",
    "torch.distributed.pipelining",
    "torch.distributed.tensor",
    "numpy",
]


class RankError(Exception):
    """What went wrong on which rank."""


class _Pool:
    """Processes and the pipes to them, by rank; more are started when a run needs more."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)
        self._ranks: list[tuple[BaseProcess, Connection]] = []
        self._runs = 0

    def ranks(self, size: int) -> list[tuple[BaseProcess, Connection]]:
        """Processes for one run."""
        self._runs += 1
        if self._runs > RUNS:
            self.kill()
            self._runs = 1
        while len(self._ranks) < size:
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=_serve, args=(theirs, len(self._ranks)), daemon=True)
            process.start()
            theirs.close()
            self._ranks.append((process, ours))
        return self._ranks[:size]

    def kill(self) -> None:
        for process, pipe in self._ranks:
            process.kill()
            pipe.close()
        for process, _ in self._ranks:
            process.join(10)
        self._ranks.clear()


_pool = _Pool()
atexit.register(_pool.kill)


def run(function: Callable[..., Any], size: int, *args: Any, timeout: float = TIMEOUT) -> list[Any]:
    """The results of `function(*args)` on `size` ranks of one process group, by rank."""
    if multiprocessing.parent_process() is not None:
        raise RankError('a rank cannot start ranks; a script has to do so below `if __name__ == "__main__":`')
    name = f"{function.__module__}:{function.__qualname__}"
    if "<" in name or inspect.getmodule(function) is None:
        raise ValueError(f"{name} has to be a function at the top of a module: the ranks import it")
    with tempfile.TemporaryDirectory() as folder:
        job = pickle.dumps((name, _path(function), size, f"{folder}/store", timeout, args))
        ranks = _pool.ranks(size)
        try:
            for _, pipe in ranks:
                pipe.send_bytes(job)
            answers = _collect(ranks, timeout)
        except BaseException:  # Ctrl-C: answers of this run must not be taken for those of the next
            _pool.kill()
            raise
    if all(good for good, _ in answers.values()) and len(answers) == size:
        return [answers[rank][1] for rank in range(size)]
    states = {rank: process.exitcode for rank, (process, _) in enumerate(ranks)}
    _pool.kill()
    raise RankError(_report(name, size, answers, states, timeout))


def _path(function: Callable[..., Any]) -> list[str]:
    """Folders that modules are found in, that of the function's own first."""
    module = inspect.getmodule(function)
    own = Path(str(getattr(module, "__file__", ""))).absolute().parents[function.__module__.count(".")]
    return [str(own), *sys.path]


def _collect(ranks: list[tuple[BaseProcess, Connection]], timeout: float) -> dict[int, tuple[bool, Any]]:
    """What each rank answers, in the order of the answers; after a failure the others have little time left."""
    deadline = time.monotonic() + timeout
    waiting = {pipe: rank for rank, (_, pipe) in enumerate(ranks)}
    answers: dict[int, tuple[bool, Any]] = {}
    while waiting and (left := deadline - time.monotonic()) > 0:
        for pipe in wait(list(waiting), left):
            assert isinstance(pipe, Connection)
            rank = waiting.pop(pipe)
            try:
                answers[rank] = pipe.recv()
            except (EOFError, ConnectionError):
                answers[rank] = (False, "")
                ranks[rank][0].join(1)
            if not answers[rank][0]:
                deadline = min(deadline, time.monotonic() + GRACE)
    return answers


def _report(
    name: str, size: int, answers: dict[int, tuple[bool, Any]], states: dict[int, int | None], timeout: float
) -> str:
    lines = [f"{name} on {size} ranks:"]
    for rank, (good, text) in answers.items():
        if not good:
            lines.append(f"rank {rank}: {text.rstrip() or f'the process ended with exit code {states[rank]}'}")
    silent = [str(rank) for rank in range(size) if rank not in answers]
    if silent:
        lines.append(f"no answer from rank {', '.join(silent)} (of {timeout:g} s; {GRACE:g} s after a failure)")
    return "\n".join(lines)


def _serve(pipe: Connection, rank: int) -> None:
    """The life of a rank: runs one function after the other."""
    import torch

    torch.set_num_threads(1)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        folder, environment = os.getcwd(), dict(os.environ)
        try:
            answer = (True, _work(rank, *job))
            sent = pickle.dumps(answer)
        except BaseException:  # whatever it is, such as checkpoint errors that are no Exception, a test has to hear it
            sent = pickle.dumps((False, traceback.format_exc()))
        pipe.send_bytes(sent)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float32)


def _work(rank: int, name: str, path: list[str], size: int, store: str, timeout: float, args: tuple[Any, ...]) -> Any:
    import torch.distributed as dist

    sys.path.extend(folder for folder in path if folder not in sys.path)
    module, _, function = name.partition(":")
    called = getattr(importlib.import_module(module), function)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=size, timeout=timedelta(seconds=timeout)
    )
    try:
        result = called(*args)
        dist.barrier()  # a rank that leaves early would cut the others' connections
        return result
    finally:
        dist.destroy_process_group()
