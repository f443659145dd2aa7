"""What is shown and recorded."""

from __future__ import annotations

from ..values import AUTO
from .base import Auto, Record, Steps, needed, record, setting


@record
class Sample(Record):
    """Text that the model writes at the end."""

    kind = "sample"
    prompt: str = setting("What the text starts with; a new document where empty.", default="")
    tokens: int = setting("Tokens to write.", default=200, least=1)
    temperature: float = setting("0 takes the likeliest token each time.", default=0.8, least=0)


@record
class Trace(Record):
    """Records what each device does."""

    kind = "trace"
    compiled = False
    start: Steps = setting("Step at which the record starts.", default=10, least=0)
    steps: Steps = setting("Steps recorded.", default=5, least=1)


@record
class Alert(Record):
    """Says so when a metric leaves its bounds."""

    kind = "alert"
    compiled = False
    metric: str = needed("Name of the metric.")
    above: float | None = setting("Bound above.", default=None)
    below: float | None = setting("Bound below.", default=None)


@record
class Observe(Record):
    """What is shown and recorded; `metrics.jsonl` in the run folder always is."""

    progress: bool = setting("A line with step, loss, speed and time left.", default=True)
    log_every: Steps = setting("Steps between records.", default=10, least=1)
    tensorboard: bool = setting("Records for TensorBoard.", default=True)
    sample: Sample | Auto | None = setting(
        "Text written at the end; `auto` writes one where the data are text.", default=AUTO
    )
    profile: Trace | None = setting("Profiler trace.", default=None)
    memory_snapshot: bool = setting("Record of each allocation.", default=False, compiled=False)
    alerts: tuple[Alert, ...] = setting("What to be told.", default=())
