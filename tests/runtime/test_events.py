"""The log of what happens to a run: whole lines whoever writes them, and nothing that goes wrong in it stops a run."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from dskc.runtime import events


def log(run: Path, rank: int = 0) -> events.Log:
    made = events.Log()
    made.open(run, rank)
    return made


def test_a_record_says_when_who_and_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "3")
    writing = log(tmp_path / "run", rank=2)
    writing.step = 40

    writing.add("saved", seconds=0.5)
    writing.add("hang", 41, state="stopped")

    first, second = events.read(tmp_path / "run")
    assert first.pop("time") > 1e9
    assert first == {"restart": 3, "rank": 2, "step": 40, "event": "saved", "seconds": 0.5}
    assert (second["step"], second["event"], second["state"]) == (41, "hang", "stopped")


def test_an_unknown_event_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no event is called 'slept'"):
        log(tmp_path).add("slept")


def test_silent_until_opened_and_after_it_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    writing = events.Log()
    writing.add("saved")
    writing.open(tmp_path)
    writing.close()
    writing.add("saved")

    assert not list(tmp_path.iterdir())
    assert events.read(tmp_path) == []


def test_lines_of_many_writers_do_not_mix(tmp_path: Path) -> None:
    def write(rank: int) -> None:
        writing = log(tmp_path, rank)
        for step in range(50):
            writing.add("saved", step, text="x" * 300)

    threads = [threading.Thread(target=write, args=(rank,)) for rank in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = events.read(tmp_path)
    assert sorted((each["rank"], each["step"]) for each in found) == [(r, s) for r in range(4) for s in range(50)]


def test_a_line_cut_short_costs_no_other(tmp_path: Path) -> None:
    log(tmp_path).add("saved", 1)
    with (tmp_path / events.FILE).open("a") as file:
        file.write('{"time": 1, "restart": 0, "ra')
    log(tmp_path).add("saved", 2)

    assert [each["step"] for each in events.read(tmp_path)] == [1, 2]
    assert len((tmp_path / events.FILE).read_text().splitlines()) == 3


def test_lines_that_are_no_events_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / events.FILE).write_bytes(
        b'3\n\xff\xfe\n[]\n{"event": "else"}\n' + json.dumps({"event": "saved"}).encode()
    )

    assert events.read(tmp_path) == [{"event": "saved"}]


def test_a_folder_that_takes_no_records_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    writing = log(tmp_path / "file" / "run")

    writing.add("saved")
    writing.add("saved")

    assert capsys.readouterr().out.count("warning: cannot record events") == 1
