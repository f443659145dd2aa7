"""Scalars for TensorBoard: one event per step, which costs a fraction of PyTorch's one event per scalar."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path


class Board:
    """An event file in `folder`; TensorBoard leaves out what earlier files hold from step `start` + 1 on."""

    def __init__(self, folder: Path, start: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary = Event, Summary
        self._writer = EventFileWriter(str(folder))
        restart = SessionLog(status=SessionLog.START)
        self._writer.add_event(Event(wall_time=time.time(), step=start + 1, session_log=restart))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the scalars of a step; a background thread brings them to the disk."""
        scalars = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=self._summary(value=scalars)))

    def close(self) -> None:
        """Writes out what is left."""
        self._writer.close()
