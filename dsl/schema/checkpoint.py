"""What is saved, and what a failure may cost."""

from __future__ import annotations

from .base import Auto, IntervalOrTime, Record, Seconds, record, setting


@record
class Checkpoint(Record):
    """Saving and recovery. The end of training is always saved."""

    every: IntervalOrTime | Auto | None = setting(
        None, "How often to save; `auto` follows from `cluster.mtbf` and the measured cost.", above=0
    )
    keep: int = setting(3, "Newest checkpoints that are kept.", least=1)
    async_: bool = setting(False, "Saves while training goes on.", compiled=False)
    integrity: bool = setting(False, "Keeps a checksum per tensor and compares it on loading.", compiled=False)
    peer_copy: bool = setting(False, "Keeps a copy in the memory of another node.", compiled=False)
    recover_within: Seconds | None = setting(
        None, "Most time from a failure to the next step.", above=0, compiled=False
    )
