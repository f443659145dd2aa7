"""The planner: how fast a layout runs and what it needs, which layouts a cluster can run, and which is best."""

from .. import passes  # first: `pipeline` and `passes` import each other, and only in this order

__all__ = ["passes"]
