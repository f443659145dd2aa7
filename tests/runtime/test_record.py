"""What a run leaves to look at."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dskc.runtime import console, plot, record
from dskc.runtime.errors import RunError

from . import faults


def recorded(folder: Path, steps: range, total: int = 40, start: int = 0, close: bool = True) -> record.Record:
    log = record.Record(folder, total, per_step=512, unit="tokens", start=start, title="run")
    for step in steps:
        log.step(step, loss=5.0 / step, rate=1e-3, norm=0.5)
        if step % 10 == 0:
            log.evaluation(step, {"loss": 6.0 / step, "accuracy": 0.5})
    if close:
        log.close()
    return log


def test_metrics_are_json_lines(tmp_path: Path) -> None:
    recorded(tmp_path, range(1, 41))
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    training = [entry for entry in records if entry["phase"] == "train"]
    assert [entry["step"] for entry in training] == list(range(1, 41))
    assert training[4]["loss"] == 1.0
    assert training[4].keys() == {"step", "phase", "loss", "rate", "gradient_norm", "tokens_per_second"}
    assert records[10] == {"step": 10, "phase": "validation", "loss": 0.6, "accuracy": 0.5}


def test_a_record_of_several_steps_holds_their_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(record.time, "perf_counter", lambda: now)
    with record.Record(tmp_path, 7, per_step=100, unit="tokens", every=3, progress=False) as log:
        for step in range(1, 8):
            now += step
            log.step(step, loss=step, rate=step / 10, norm=2 * step)
    entries = record.read(log.path)
    assert [(entry["step"], entry["loss"], entry["gradient_norm"]) for entry in entries] == [
        (3, 2.0, 4.0), (6, 5.0, 10.0), (7, 7.0, 14.0)
    ]  # fmt: skip
    assert [entry["rate"] for entry in entries] == [0.3, 0.6, 0.7]
    assert [entry["tokens_per_second"] for entry in entries] == [50.0, 20.0, 100 / 7]


def test_progress_can_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with record.Record(tmp_path, 1, per_step=1, unit="samples", progress=False) as log:
        log.step(1, loss=1.0, rate=1.0)
    assert capsys.readouterr().out == f"loss curve: {tmp_path / 'loss.png'}\n"


def test_each_line_is_there_at_once(tmp_path: Path) -> None:
    recorded(tmp_path, range(1, 6), close=False)
    assert len(record.read(tmp_path / "metrics.jsonl")) == 5


def test_a_resumed_run_replaces_what_it_repeats(tmp_path: Path) -> None:
    os.close(recorded(tmp_path, range(1, 26), close=False)._lock)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 26, "phase": "tr')  # cut short by a crash
    recorded(tmp_path, range(21, 41), start=20)
    steps = [entry["step"] for entry in record.read(tmp_path / "metrics.jsonl") if entry["phase"] == "train"]
    assert steps == list(range(1, 41))


def test_tensorboard_reads_the_scalars(tmp_path: Path) -> None:
    recorded(tmp_path, range(1, 41))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")][:2] == [(1, 5.0), (2, 2.5)]
    assert [event.step for event in events.Scalars("validation/accuracy")] == [10, 20, 30, 40]


def test_tensorboard_sees_a_resumed_run_as_one(tmp_path: Path) -> None:
    recorded(tmp_path, range(1, 26))
    recorded(tmp_path, range(21, 41), start=20)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 41))


def test_a_run_that_breaks_off_has_its_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        with record.Record(tmp_path, 10, per_step=1, unit="samples") as log:
            log.step(1, loss=1.0, rate=1.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert (tmp_path / "loss.png").exists()
    assert capsys.readouterr().out.splitlines()[-1].startswith("stopped after step 1; ")


def test_a_run_that_is_done_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with record.Record(tmp_path, 10, per_step=1, unit="samples", start=9):
        pass
    assert capsys.readouterr().out == ""
    with record.Record(tmp_path, 10, per_step=1, unit="samples", start=10):
        pass
    assert "all 10 steps of this run are done" in capsys.readouterr().out


def test_a_full_disk_is_no_reason_to_stop(tmp_path: Path) -> None:
    disk = tmp_path / "disk"

    def work() -> None:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), record.Record(disk, 2_000, per_step=1, unit="samples") as log:
            for step in range(1, 2_001):
                log.step(step, loss=1.0, rate=1.0)
        assert said.getvalue().count("No space left on device; training goes on") == 1
        kept = record.read(disk / "metrics.jsonl")
        assert [entry["step"] for entry in kept] == list(range(1, len(kept) + 1))
        assert len(kept) > 100

    faults.on_a_small_disk(disk, work)


def test_the_plot_shows_training_and_validation(tmp_path: Path) -> None:
    recorded(tmp_path, range(1, 41))
    picture = matplotlib.image.imread(tmp_path / "loss.png")[:, :, :3]
    assert picture.shape == (750, 1350, 3)
    for colour in (plot.BLUE, plot.ORANGE):
        wanted = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
        assert (np.abs(picture - wanted).max(axis=2) < 0.02).sum() > 500


def test_a_run_without_steps_has_no_plot(tmp_path: Path) -> None:
    with record.Record(tmp_path, 10, per_step=1, unit="samples"):
        pass
    assert not (tmp_path / "loss.png").exists()


def test_smoothing_keeps_level_and_slope_and_does_not_lag() -> None:
    assert plot.smoothed([3.0] * 50, 4.0) == pytest.approx(3.0)
    line = plot.smoothed(list(range(100)), 4.0)
    assert line[20:80] == pytest.approx(np.arange(20, 80))
    assert len(plot.smoothed([1.0], 1.0)) == 1


def test_elsewhere_progress_comes_in_few_whole_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path, range(1, 41))
    out = capsys.readouterr().out
    assert "\r" not in out
    lines = out.splitlines()
    # The time of the first step is no measure of the others: neither speed nor time left.
    assert lines[0] == "step  1/40   loss 5.0000   lr 1.00e-03   norm 0.50"
    assert lines[1] == "step 10/40   validation: loss 0.6000   accuracy 0.5000"
    assert lines[4].startswith("step 40/40   loss 0.1250   ")
    assert "tokens/s   lr 1.00e-03   norm 0.50   " in lines[4]
    assert lines[4].endswith("   0 s left")
    assert lines[6] == f"loss curve: {tmp_path / 'loss.png'}"
    assert len(lines) == 7


def test_a_terminal_has_one_line_that_is_rewritten(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    line = console.Line()
    assert not line.due()
    line.update("first " + "x" * 500)
    line.update("second")
    line.note("stays")
    line.update("third")
    line.replace("done")
    line.note("plain")
    line.update("fourth")
    line.end()
    out = capsys.readouterr().out
    first, rest = out.split("\r\x1b[Ksecond")
    assert len(first.removeprefix("\r\x1b[K")) < 500
    clear = "\r\x1b[K"
    assert rest == f"{clear}stays\nsecond{clear}third{clear}done\nplain\n{clear}fourth\n"


def test_evaluation_does_not_count_as_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(record.time, "perf_counter", lambda: now)
    log = record.Record(tmp_path, 10, per_step=100, unit="tokens")
    for step in (1, 2):
        now += 2.0
        log.step(step, 1.0, 1.0)
        now += 50.0
        log.evaluation(step, {"loss": 1.0})
    entries = [entry for entry in record.read(log.path) if entry["phase"] == "train"]
    assert [entry["tokens_per_second"] for entry in entries] == [50.0, 50.0]


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    first = recorded(tmp_path, range(1, 3), close=False)
    with pytest.raises(RunError, match="another process trains in"):
        recorded(tmp_path, range(1, 2))
    first.close()

    recorded(tmp_path, range(3, 5), start=2)

    assert [entry["step"] for entry in record.read(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot record the run in"):
        record.Record(tmp_path / "file", 10, per_step=1, unit="samples")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (48, "48 s"), (59.7, "1:00"), (200, "3:20"), (7_400, "2:03:20")]
)
def test_durations(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.25, "0.2"),
        (9.96, "10.0"),
        (950, "950"),
        (12_345, "12.3k"),
        (123_456, "123k"),
        (4.9e6, "4.9M"),
    ],
)
def test_counts(number: float, text: str) -> None:
    assert console.count(number) == text


def test_a_reader_that_leaves_is_no_reason_to_stop() -> None:
    program = "\n".join(
        (
            "import sys",
            "from dskc.runtime import console",
            "for _ in range(3): console.LINE.note('x' * 100_000)",
            "print('went on', file=sys.stderr)",
        )
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == "went on\n"
    assert process.returncode == 0
