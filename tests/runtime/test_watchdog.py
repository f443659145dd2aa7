"""The process that watches over a rank: it kills what hangs, lets live what lives, and records how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dskc.runtime import events

SLEEPS = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
LOOPS = "import faulthandler; faulthandler.enable(); print(flush=True)\nwhile True: pass"


class Rank:
    """A process that does nothing, and its watchdog."""

    def __init__(self, run: Path, code: str, rank: int, preemption: float) -> None:
        self.run = run
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()  # it is set up
        command = [sys.executable, "-m", "dskc.runtime.watchdog", str(self.process.pid), str(run), str(rank)]
        self.dog = subprocess.Popen([*command, str(preemption)], stdin=subprocess.PIPE, stderr=subprocess.PIPE)

    def says(self, **said: object) -> None:
        self.write(json.dumps(said).encode() + b"\n")

    def write(self, text: bytes) -> None:
        assert self.dog.stdin is not None
        self.dog.stdin.write(text)
        self.dog.stdin.flush()

    def ended(self) -> list[dict[str, object]]:
        """What was recorded, when both are gone."""
        self.dog.wait(30)
        self.process.wait(30)
        return events.read(self.run)


@pytest.fixture
def ranks(tmp_path: Path) -> Iterator[list[Rank]]:
    made: list[Rank] = []
    yield made
    for each in made:
        each.process.kill()
        each.process.communicate()
        each.dog.communicate()


def start(ranks: list[Rank], run: Path, code: str = SLEEPS, rank: int = 1, preemption: float = 60) -> Rank:
    ranks.append(Rank(run, code, rank, preemption))
    return ranks[-1]


def test_a_rank_that_sleeps_too_long_is_killed(ranks: list[Rank], tmp_path: Path) -> None:
    rank = start(ranks, tmp_path)
    rank.says(step=7, allow=0.3, doing="training")
    (record,) = rank.ended()
    assert rank.process.returncode in (-signal.SIGABRT, -signal.SIGKILL)
    assert {k: record[k] for k in ("event", "rank", "step", "doing", "state", "waited")} == {
        "event": "hang", "rank": 1, "step": 7, "doing": "training", "state": "sleeping", "waited": 0.3,
    }  # fmt: skip


def test_a_rank_that_is_stopped_is_killed_and_one_that_runs_in_circles_shows_where(
    ranks: list[Rank], tmp_path: Path
) -> None:
    for code, state in ((SLEEPS, "stopped"), (LOOPS, "running")):
        rank = start(ranks, tmp_path / state, code)
        if state == "stopped":
            rank.process.send_signal(signal.SIGSTOP)
        rank.says(step=7, allow=0.3, doing="training")
        (record,) = rank.ended()
        assert (record["event"], record["state"]) == ("hang", state)
    assert rank.process.stderr is not None
    assert 'File "<string>", line 2 in <module>' in rank.process.stderr.read()


def test_a_rank_that_says_so_in_time_lives_and_may_say_nothing_where_it_waits_long(
    ranks: list[Rank], tmp_path: Path
) -> None:
    rank = start(ranks, tmp_path, LOOPS)
    for _ in range(10):
        rank.says(step=1, allow=2, doing="training")
        time.sleep(0.1)
    rank.says(step=1, allow=60, doing="saving")
    time.sleep(2.5)
    assert rank.process.poll() is None
    rank.says(end="")
    rank.process.kill()
    assert rank.ended() == []


@pytest.mark.parametrize("word", [None, "ValueError: no"])
def test_a_rank_that_dies_is_recorded_with_its_last_word(ranks: list[Rank], tmp_path: Path, word: str | None) -> None:
    rank = start(ranks, tmp_path)
    rank.says(step=3, allow=60, doing="evaluating")
    if word:
        rank.says(end=word)
    rank.process.kill()
    (record,) = rank.ended()
    assert (record["event"], record["step"], record["doing"]) == ("died", 3, "evaluating")
    assert record["reason"] == (word or "killed, or crashed outside of Python")


def test_a_rank_told_to_end_is_killed_at_once_where_another_has_died(ranks: list[Rank], tmp_path: Path) -> None:
    other = events.Log()
    other.open(tmp_path)
    other.add("died", reason="of an earlier start")
    rank = start(ranks, tmp_path)
    rank.says(step=3, allow=60, doing="training")
    rank.write(bytes([signal.SIGTERM]))
    other.add("saved", reason="no reason")
    time.sleep(0.5)
    assert rank.process.poll() is None
    other.add("died", reason="of this one")
    begun = time.monotonic()
    rank.ended()
    assert rank.process.returncode == -signal.SIGKILL
    assert time.monotonic() - begun < 30  # the launcher would wait that long
    assert [each["reason"] for each in events.read(tmp_path)] == [
        "of an earlier start", "no reason", "of this one",
    ]  # fmt: skip


def test_a_rank_told_to_end_has_its_time_whatever_it_says(ranks: list[Rank], tmp_path: Path) -> None:
    rank = start(ranks, tmp_path, rank=0, preemption=0.5)
    rank.says(step=3, allow=60, doing="training")
    rank.write(bytes([signal.SIGTERM]))
    rank.says(step=4, allow=60, doing="saving")
    (record,) = rank.ended()
    assert rank.process.returncode == -signal.SIGKILL
    assert (record["event"], record["step"], record["reason"]) == ("died", 4, "ended by the launcher")


def test_it_ends_with_its_rank_where_that_never_spoke(ranks: list[Rank], tmp_path: Path) -> None:
    rank = start(ranks, tmp_path)
    os.kill(rank.process.pid, signal.SIGKILL)
    (record,) = rank.ended()
    assert (record["event"], record["step"]) == ("died", 0)
