"""What is saved, and what a failure may cost."""

from __future__ import annotations

from .base import Auto, IntervalOrTime, Record, Seconds, record, setting


@record
class Checkpoint(Record):
    """Saving and recovery. The end of training is always saved."""

    every: IntervalOrTime | Auto | None = setting(
        "How often to save; `auto` follows from `cluster.mtbf` and the measured cost.", default=None, above=0
    )
    keep: int = setting("Newest checkpoints that are kept.", default=3, least=1)
    async_: bool = setting("Saves while training goes on.", default=False)
    peer_copy: bool = setting("Keeps each save in the memory of its node and of the next one.", default=False)
    local: str | None = setting("Folder on a disk of each node that each save is written to first.", default=None)
    attempts: int = setting("Starts in a row without a new step, after which the run stops.", default=3, least=1)
    skip_failing: int | None = setting(
        "Starts in a row that fail at the same step, after which its samples are left out; never where `none`. "
        "Each of the `attempts` is that many then.",
        default=None,
        least=1,
    )
    recover_within: Seconds | None = setting(
        "Most time from a failure until training is where it was; time-outs follow from it.", default=None, above=0
    )
