"""The order in which each rank of the pipeline works on stages and micro-batches."""

from __future__ import annotations

from ..layout import Layout


def rank_of(layout: Layout, stage: int) -> int:
    """The pipeline rank of a stage: round and round, or there and back (a V) where the schedule is ZB-V."""
    turn, place = divmod(stage, layout.pipeline)
    return layout.pipeline - 1 - place if is_v(layout) and turn % 2 else place


def is_v(layout: Layout) -> bool:
    """Whether the stages lie on the ranks as a V (Qi et al. 2024): zero bubble with two chunks."""
    return layout.schedule == "zero_bubble" and layout.chunks == 2
