"""The harness itself: what goes wrong on a rank fails the test, soon, and does not spoil the next one."""

from __future__ import annotations

import os
import time

import pytest
import torch
import torch.distributed as dist

from . import ranks


def number(factor: int) -> int:
    return dist.get_rank() * factor


def process() -> int:
    os.environ["LEFT"] = "behind"
    torch.set_default_dtype(torch.float64)
    return os.getpid()


def clean() -> tuple[bool, torch.dtype, int]:
    return "LEFT" in os.environ, torch.get_default_dtype(), torch.get_num_threads()


def fails_on(rank: int) -> None:
    if dist.get_rank() == rank:
        raise BaseException("a fault of this rank")
    dist.barrier()


def dies_on(rank: int) -> None:
    if dist.get_rank() == rank:
        os._exit(7)
    dist.barrier()


def sleeps_on(rank: int) -> None:
    if dist.get_rank() == rank:
        time.sleep(1000)


def test_results_come_by_rank_from_the_same_processes() -> None:
    assert ranks.run(number, 4, 10) == [0, 10, 20, 30]
    twice = [(ranks.run(process, 2), ranks.run(process, 4)[:2]) for _ in range(2)]
    assert any(first == second for first, second in twice)  # they are replaced by new ones now and then
    assert ranks.run(clean, 4) == [(False, torch.float32, 1)] * 4


@pytest.mark.parametrize(
    ("function", "words", "timeout"),
    [
        (fails_on, r"rank 1: Traceback[\s\S]*BaseException: a fault of this rank", 60),
        (dies_on, r"rank 1: the process ended with exit code 7", 60),
        (sleeps_on, r"no answer from rank 0, 1, 2 ", 4),
    ],
)
def test_a_fault_of_one_rank_fails_the_run(function: object, words: str, timeout: float) -> None:
    start = time.monotonic()
    with pytest.raises(ranks.RankError, match=words):
        ranks.run(function, 3, 1, timeout=timeout)  # type: ignore[arg-type]

    assert time.monotonic() - start < 30
    assert ranks.run(number, 2, 1) == [0, 1]


def test_a_function_that_ranks_cannot_import_is_refused() -> None:
    with pytest.raises(ValueError, match="top of a module"):
        ranks.run(lambda: None, 2)
