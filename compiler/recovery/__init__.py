"""What a failure costs, before there is one: parts of a recovery, interval of saves, ladder of time-outs."""

from .budget import Recovery, recovery_of

__all__ = ["Recovery", "recovery_of"]
