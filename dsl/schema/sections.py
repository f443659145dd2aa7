"""All sections by name, in the order in which they are documented and written."""

from __future__ import annotations

from typing import Final

from .base import Record
from .checkpoint import Checkpoint
from .cluster import Cluster
from .communication import Communication
from .compression import Compression
from .data import Data
from .export import Export
from .memory import Memory
from .model import ModelSettings
from .observe import Observe
from .optimizer import AdamW, Muon, Sgd
from .parallel import Parallel
from .precision import Precision
from .schedule import Schedule
from .training import Training

# Several records: the title says which (`optimizer sgd { }`); the first is the default.
SECTIONS: Final[dict[str, tuple[type[Record], ...]]] = {
    "model": (ModelSettings,),
    "data": (Data,),
    "training": (Training,),
    "optimizer": (AdamW, Sgd, Muon),
    "schedule": (Schedule,),
    "precision": (Precision,),
    "parallel": (Parallel,),
    "cluster": (Cluster,),
    "memory": (Memory,),
    "communication": (Communication,),
    "checkpoint": (Checkpoint,),
    "compression": (Compression,),
    "export": (Export,),
    "observe": (Observe,),
}
