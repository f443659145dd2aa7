"""What is shown and recorded."""

from __future__ import annotations

from ..values import AUTO
from .base import Auto, Record, Steps, needed, record, setting


@record
class Sample(Record):
    """Text that the model writes at the end."""

    kind = "sample"
    prompt: str = setting("", "What the text starts with; a new document where empty.")
    tokens: int = setting(200, "Tokens to write.", least=1)
    temperature: float = setting(0.8, "0 takes the likeliest token each time.", least=0)


@record
class Trace(Record):
    """Records what each device does."""

    kind = "trace"
    compiled = False
    start: Steps = setting(10, "Step at which the record starts.", least=0)
    steps: Steps = setting(5, "Steps recorded.", least=1)


@record
class Alert(Record):
    """Says so when a metric leaves its bounds."""

    kind = "alert"
    compiled = False
    metric: str = needed("Name of the metric.")
    above: float | None = setting(None, "Bound above.")
    below: float | None = setting(None, "Bound below.")


@record
class Observe(Record):
    """What is shown and recorded; `metrics.jsonl` in the run folder always is."""

    progress: bool = setting(True, "A line with step, loss, speed and time left.")
    log_every: Steps = setting(10, "Steps between records.", least=1)
    tensorboard: bool = setting(True, "Records for TensorBoard.")
    sample: Sample | Auto | None = setting(AUTO, "Text written at the end; `auto` writes one where the data are text.")
    profile: Trace | None = setting(None, "Profiler trace.")
    memory_snapshot: bool = setting(False, "Record of each allocation.", compiled=False)
    alerts: tuple[Alert, ...] = setting((), "What to be told.")
