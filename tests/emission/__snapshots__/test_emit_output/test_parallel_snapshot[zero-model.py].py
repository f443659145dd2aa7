"""Model `gpt`, 5.5 M parameters. Written by dskc from stdlib_gpt.dsk; yours to edit.

The end of a name tells the sizes of the tensor, one letter each:
    B  batch
    S  sequence
    V  2048 (data.vocab)
    D  256 (dim)
    H  8 (heads)
    G  4 (kv_heads)
    K  32 (head_dim)
"""

from __future__ import annotations

import torch.nn.functional as F
from dskc.runtime import layers
from dskc.runtime.initialize import initialize
from torch import Tensor, nn

from parallel import DATA, LAYOUT

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
        self.query = nn.Linear(256, 256, bias=False)  # std/prelude.dsk:10
        self.key = nn.Linear(256, 128, bias=False)  # std/prelude.dsk:11
        self.value = nn.Linear(256, 128, bias=False)  # std/prelude.dsk:12
        self.output = nn.Linear(256, 256, bias=False)  # std/prelude.dsk:25

    def forward(self, x_BSD: Tensor) -> Tensor:
        q_BHSK = self.query(x_BSD).unflatten(-1, (8, 32)).transpose(1, 2)  # std/prelude.dsk:13
        k_BGSK = self.key(x_BSD).unflatten(-1, (4, 32)).transpose(1, 2)  # std/prelude.dsk:14
        v_BGSK = self.value(x_BSD).unflatten(-1, (4, 32)).transpose(1, 2)  # std/prelude.dsk:15
        q_BHSK = layers.rope(q_BHSK, theta=10000)  # std/prelude.dsk:21
        k_BGSK = layers.rope(k_BGSK, theta=10000)  # std/prelude.dsk:22
        # std/prelude.dsk:24
        attended_BHSK = F.scaled_dot_product_attention(
            q_BHSK, k_BGSK, v_BGSK, is_causal=True, enable_gqa=True
        )
        return self.output(attended_BHSK.transpose(1, 2).flatten(2))  # std/prelude.dsk:25


class Swiglu(nn.Module):  # std/prelude.dsk:29
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(256, 704, bias=False)  # std/prelude.dsk:30
        self.up = nn.Linear(256, 704, bias=False)  # std/prelude.dsk:31
        self.down = nn.Linear(704, 256, bias=False)  # std/prelude.dsk:32

    def forward(self, x_BSD: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x_BSD)) * self.up(x_BSD))  # std/prelude.dsk:32


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


class Gpt(nn.Module):  # stdlib_gpt.dsk:15
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(2048, 256)  # stdlib_gpt.dsk:16
        self.layers = nn.ModuleList(Layer() for _ in range(6))  # stdlib_gpt.dsk:17
        self.rms_norm = nn.RMSNorm(256, eps=1e-06)  # stdlib_gpt.dsk:18
        self.linear = nn.Linear(256, 2048, bias=False)  # stdlib_gpt.dsk:18

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, S, V] of tokens [B, S]."""
        x_BSD = self.embedding(tokens)  # stdlib_gpt.dsk:16
        for layer in self.layers:  # stdlib_gpt.dsk:17
            x_BSD = layer(x_BSD)
        logits_BSV = self.linear(self.rms_norm(x_BSD))  # stdlib_gpt.dsk:18
        return logits_BSV

    def objectives(self, tokens: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The loss that is minimised; its parts and the metrics follow by name."""
        logits_BSV = self(tokens)
        # stdlib_gpt.dsk:19
        cross_entropy = layers.cross_entropy(logits_BSV, targets, total=targets.numel() * DATA.size)
        return {"loss": cross_entropy}

    def initialize(self, seed: int) -> None:
        """Sets the start values of all parameters."""
        initialize(self, INITIAL, seed, LAYOUT)
