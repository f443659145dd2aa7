"""What is written at the end of training."""

from __future__ import annotations

from .base import Record, record, setting


@record
class Export(Record):
    """Files of the trained model, relative to the run folder; each is loaded again and compared."""

    safetensors: str | None = setting("File of the weights.", default=None)
    huggingface: str | None = setting("Folder that `transformers` loads.", default=None)
    onnx: str | None = setting("ONNX file.", default=None, compiled=False)
    torch_export: str | None = setting("File of `torch.export`.", default=None, compiled=False)
    quantized: str | None = setting("File of quantised weights.", default=None, compiled=False)
