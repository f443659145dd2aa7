"""Model `gpt`, 5.5 M parameters. Written by dskc from stdlib_gpt.dsk; yours to edit.

The end of a name tells the sizes of the tensor, one letter each:
    B  batch
    S  sequence
    D  256 (dim)
    G  4 (kv_heads, heads 8 / tensor 2)
    K  32 (head_dim)
    s  S / tensor 2
    d  128 (dim 256 / tensor 2)
    g  2 (kv_heads 4 / tensor 2)
    V  1024 (data.vocab 2048 / tensor 2)
"""

from __future__ import annotations

import torch.nn.functional as F
from dskc.runtime import collectives, layers
from dskc.runtime.initialize import initialize
from torch import Tensor, nn

from parallel import DATA, LAYOUT, TENSOR

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

    def forward(self, x_BsD: Tensor) -> Tensor:
        x_BSD = collectives.all_gather_both(x_BsD, TENSOR, 1)  # std/prelude.dsk:10
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
        return collectives.reduce_scatter(output_BSD, TENSOR, 1)


class Swiglu(nn.Module):  # std/prelude.dsk:29
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(256, 352, bias=False)  # std/prelude.dsk:30
        self.up = nn.Linear(256, 352, bias=False)  # std/prelude.dsk:31
        self.down = nn.Linear(352, 256, bias=False)  # std/prelude.dsk:32

    def forward(self, x_BsD: Tensor) -> Tensor:
        x_BSD = collectives.all_gather_both(x_BsD, TENSOR, 1)  # std/prelude.dsk:30
        down_BSD = self.down(F.silu(self.gate(x_BSD)) * self.up(x_BSD))  # std/prelude.dsk:32
        return collectives.reduce_scatter(down_BSD, TENSOR, 1)


class Layer(nn.Module):  # stdlib_gpt.dsk:10
    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(256, eps=1e-06)  # stdlib_gpt.dsk:11
        self.self_attention = SelfAttention()  # stdlib_gpt.dsk:11
        self.feed_forward_norm = nn.RMSNorm(256, eps=1e-06)  # stdlib_gpt.dsk:12
        self.swiglu = Swiglu()  # stdlib_gpt.dsk:12

    def forward(self, x_BsD: Tensor) -> Tensor:
        h_BsD = x_BsD + self.self_attention(self.attention_norm(x_BsD))  # stdlib_gpt.dsk:11
        return h_BsD + self.swiglu(self.feed_forward_norm(h_BsD))  # stdlib_gpt.dsk:12


class Gpt(nn.Module):  # stdlib_gpt.dsk:15
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(2048, 128)  # stdlib_gpt.dsk:16
        self.layers = nn.ModuleList(Layer() for _ in range(6))  # stdlib_gpt.dsk:17
        self.rms_norm = nn.RMSNorm(256, eps=1e-06)  # stdlib_gpt.dsk:18
        self.linear = nn.Linear(256, 1024, bias=False)  # stdlib_gpt.dsk:18

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, S, V] of tokens [B, S]."""
        x_BSd = self.embedding(tokens)  # stdlib_gpt.dsk:16
        x_BsD = collectives.all_to_all(x_BSd, TENSOR, 2, 1)  # stdlib_gpt.dsk:17
        for layer in self.layers:
            x_BsD = layer(x_BsD)
        # stdlib_gpt.dsk:18
        rms_norm_BSD = collectives.all_gather_both(self.rms_norm(x_BsD), TENSOR, 1)
        logits_BSV = self.linear(rms_norm_BSD)
        return logits_BSV

    def objectives(self, tokens: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The loss that is minimised; its parts and the metrics follow by name."""
        logits_BSV = self(tokens)
        # stdlib_gpt.dsk:19
        cross_entropy = layers.split_cross_entropy(
            logits_BSV, targets, TENSOR, total=targets.numel() * DATA.size
        )
        return {"loss": cross_entropy}

    def initialize(self, seed: int) -> None:
        """Sets the start values of all parameters."""
        initialize(self, INITIAL, seed, LAYOUT)
