"""What is written at the end of training."""

from __future__ import annotations

from .base import Record, record, setting


@record
class Export(Record):
    """Files of the trained model, relative to the run folder; each is loaded again and compared."""

    safetensors: str | None = setting(None, "File of the weights.")
    huggingface: str | None = setting(None, "Folder that `transformers` loads.")
    onnx: str | None = setting(None, "ONNX file.", compiled=False)
    torch_export: str | None = setting(None, "File of `torch.export`.", compiled=False)
    quantized: str | None = setting(None, "File of quantised weights.", compiled=False)
