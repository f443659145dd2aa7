"""The op table: every primitive of the language."""

from __future__ import annotations

from .activations import ACTIVATIONS
from .arithmetic import ARITHMETIC
from .attention import SCALED_DOT_PRODUCT_ATTENTION
from .base import Op
from .conv import CONV2D
from .embedding import EMBEDDING, PARAMETER, POSITIONS
from .experts import EXPERTS
from .linear import LINEAR
from .logic import LOGIC
from .losses import LOSSES
from .matmul import MATMUL
from .metrics import METRICS
from .norms import BATCH_NORM, GROUP_NORM, LAYER_NORM, RMS_NORM
from .parts import PARTS
from .pooling import POOLING
from .rearrange import REARRANGE
from .reduce import REDUCTIONS
from .rope import ROPE
from .shape import SHAPES
from .softmax import SOFTMAX

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
    *SOFTMAX,
    MATMUL,
    *SHAPES,
    *PARTS,
    *REDUCTIONS,
    *LOGIC,
    *EXPERTS,
    *LOSSES,
    *METRICS,
)
OPS: dict[str, Op] = {op.name: op for op in _ALL}
