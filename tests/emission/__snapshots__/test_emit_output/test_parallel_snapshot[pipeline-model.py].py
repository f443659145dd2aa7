"""Model `gpt`, 5.5 M parameters, in 2 stages.

Written by dskc from stdlib_gpt.dsk; yours to edit.

The end of a name tells the sizes of the tensor, one letter each:
    B  batch
    S  sequence
    D  256 (dim)
    G  4 (kv_heads, heads 8 / tensor 2)
    K  32 (head_dim)
    d  128 (dim 256 / tensor 2)
    g  2 (kv_heads 4 / tensor 2)
    V  1024 (data.vocab 2048 / tensor 2)
"""

from __future__ import annotations

import torch.nn.functional as F
from dskc.runtime import collectives, layers
from torch import Tensor, nn

from parallel import DATA, TENSOR

# Start values: each parameter draws from the seed and its own name.
INITIAL = {
    "normal(0.02)": (
        "embedding.weight",
        "layers.*.self_attention.query.weight",
        "layers.*.self_attention.key.weight",
        "layers.*.self_attention.value.weight",
        "layers.*.self_attention.output.weight",
        "layers.*.swiglu.gate.weight",
        "layers.*.swiglu.up.weight",
        "layers.*.swiglu.down.weight",
        "linear.weight",
    ),
    "ones": (
        "layers.*.attention_norm.weight",
        "layers.*.feed_forward_norm.weight",
        "rms_norm.weight",
    ),
}


class SelfAttention(nn.Module):  # std/prelude.dsk:7
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(256, 128, bias=False)  # std/prelude.dsk:10
        self.key = nn.Linear(256, 64, bias=False)  # std/prelude.dsk:11
        self.value = nn.Linear(256, 64, bias=False)  # std/prelude.dsk:12
        self.output = nn.Linear(128, 256, bias=False)  # std/prelude.dsk:25

    def forward(self, x_BSD: Tensor) -> Tensor:
        x_BSD = collectives.copy(x_BSD.bfloat16(), TENSOR)  # std/prelude.dsk:10
        q_BGSK = self.query(x_BSD).unflatten(-1, (4, 32)).transpose(1, 2)  # std/prelude.dsk:13
        k_BgSK = self.key(x_BSD).unflatten(-1, (2, 32)).transpose(1, 2)  # std/prelude.dsk:14
        v_BgSK = self.value(x_BSD).unflatten(-1, (2, 32)).transpose(1, 2)  # std/prelude.dsk:15
        q_BGSK = layers.rope(q_BGSK, theta=10000)  # std/prelude.dsk:21
        k_BgSK = layers.rope(k_BgSK, theta=10000)  # std/prelude.dsk:22
        # std/prelude.dsk:24
        attended_BGSK = F.scaled_dot_product_attention(
            q_BGSK, k_BgSK, v_BgSK, is_causal=True, enable_gqa=True
        )
        output_BSD = self.output(attended_BGSK.transpose(1, 2).flatten(2))  # std/prelude.dsk:25
        return collectives.all_reduce(output_BSD, TENSOR)


class Swiglu(nn.Module):  # std/prelude.dsk:29
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(256, 352, bias=False)  # std/prelude.dsk:30
        self.up = nn.Linear(256, 352, bias=False)  # std/prelude.dsk:31
        self.down = nn.Linear(352, 256, bias=False)  # std/prelude.dsk:32

    def forward(self, x_BSD: Tensor) -> Tensor:
        x_BSD = collectives.copy(x_BSD.bfloat16(), TENSOR)  # std/prelude.dsk:30
        down_BSD = self.down(F.silu(self.gate(x_BSD)) * self.up(x_BSD))  # std/prelude.dsk:32
        return collectives.all_reduce(down_BSD, TENSOR)


class Layer(nn.Module):  # stdlib_gpt.dsk:10
    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(256, eps=1e-06)  # stdlib_gpt.dsk:11
        self.self_attention = SelfAttention()  # stdlib_gpt.dsk:11
        self.feed_forward_norm = nn.RMSNorm(256, eps=1e-06)  # stdlib_gpt.dsk:12
        self.swiglu = Swiglu()  # stdlib_gpt.dsk:12

    def forward(self, x_BSD: Tensor) -> Tensor:
        h_BSD = x_BSD + self.self_attention(self.attention_norm(x_BSD))  # stdlib_gpt.dsk:11
        return h_BSD + self.swiglu(self.feed_forward_norm(h_BSD))  # stdlib_gpt.dsk:12


class FirstStage(nn.Module):  # stdlib_gpt.dsk:15
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(2048, 128)  # stdlib_gpt.dsk:16
        self.layers = nn.ModuleDict({str(i): Layer() for i in range(3)})  # stdlib_gpt.dsk:17

    def forward(self, tokens: Tensor) -> Tensor:
        x_BSd = self.embedding(tokens)  # stdlib_gpt.dsk:16
        x_BSD = collectives.all_gather(x_BSd, TENSOR, 2)  # stdlib_gpt.dsk:17
        for layer in self.layers.values():
            x_BSD = layer(x_BSD)
        return x_BSD


class LastStage(nn.Module):  # stdlib_gpt.dsk:15
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({str(i): Layer() for i in range(3, 6)})  # stdlib_gpt.dsk:17
        self.rms_norm = nn.RMSNorm(256, eps=1e-06)  # stdlib_gpt.dsk:18
        self.linear = nn.Linear(256, 1024, bias=False)  # stdlib_gpt.dsk:18

    def forward(self, x_BSD: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The loss that is minimised; its parts and the metrics follow by name."""
        for layer in self.layers.values():  # stdlib_gpt.dsk:17
            x_BSD = layer(x_BSD)
        # stdlib_gpt.dsk:18
        logits_BSV = self.linear(collectives.copy(self.rms_norm(x_BSD).bfloat16(), TENSOR))
        # stdlib_gpt.dsk:19
        cross_entropy = layers.split_cross_entropy(
            logits_BSV, targets, TENSOR, total=targets.numel() * DATA.size
        )
        return {"loss": cross_entropy}


# The parts of the pipeline, in their order.
STAGES = (
    FirstStage,
    LastStage,
)
