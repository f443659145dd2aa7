"""Settings of the model besides its graph and its own constants."""

from __future__ import annotations

from .base import Record, needed, record, setting


@record
class HuggingFace(Record):
    """Weights in the Hugging Face layout."""

    kind = "hf"
    directory: str = needed("Folder with `config.json` and `*.safetensors`.")


@record
class ModelSettings(Record):
    """The network. Any other setting here is a constant of the model."""

    weights: HuggingFace | None = setting("Weights to start from.", default=None)
