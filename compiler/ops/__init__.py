"""The op table: every primitive of the language."""

from __future__ import annotations

from .activations import ACTIVATIONS
from .arithmetic import ARITHMETIC
from .attention import SCALED_DOT_PRODUCT_ATTENTION
from .base import Op
from .conv import CONV2D
from .embedding import EMBEDDING, PARAMETER, POSITIONS
from .linear import LINEAR
from .losses import CROSS_ENTROPY
from .metrics import ACCURACY
from .norms import BATCH_NORM, GROUP_NORM, LAYER_NORM, RMS_NORM
from .pooling import POOLING
from .rearrange import REARRANGE
from .rope import ROPE

_ALL: tuple[Op, ...] = (
    LINEAR,
    EMBEDDING,
    POSITIONS,
    PARAMETER,
    CONV2D,
    RMS_NORM,
    LAYER_NORM,
    GROUP_NORM,
    BATCH_NORM,
    *ARITHMETIC,
    *ACTIVATIONS,
    *POOLING,
    REARRANGE,
    ROPE,
    SCALED_DOT_PRODUCT_ATTENTION,
    CROSS_ENTROPY,
    ACCURACY,
)
OPS: dict[str, Op] = {op.name: op for op in _ALL}
