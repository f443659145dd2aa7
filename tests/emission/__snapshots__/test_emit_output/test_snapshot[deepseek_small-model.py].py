"""Model `deepseek`, 6.8 M parameters. Written by dskc from deepseek_small.dsk; yours to edit.

The end of a name tells the sizes of the tensor, one letter each:
    B  batch
    S  sequence
    V  2048 (data.vocab)
    D  192 (dim)
    H  6 (heads)
    Q  96 (query_rank)
    L  64 (latent)
    N  32 (nope)
    R  16 (rotary)
    F  128 (hidden)
    A  4 (active)
    C  48
    E  384
    G  4*B*S
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from dskc.runtime import layers
from dskc.runtime.initialize import initialize
from torch import Tensor, nn

# Start values: each parameter draws from the seed and its own name.
INITIAL = {
    "normal(0.02)": (
        "embedding.weight",
        "dense.*.latent_attention.query_down.weight",
        "dense.*.latent_attention.query_up.weight",
        "dense.*.latent_attention.latent_down.weight",
        "dense.*.latent_attention.latent_up.weight",
        "dense.*.latent_attention.output.weight",
        "dense.*.swiglu.gate.weight",
        "dense.*.swiglu.up.weight",
        "dense.*.swiglu.down.weight",
        "experts.*.latent_attention.query_down.weight",
        "experts.*.latent_attention.query_up.weight",
        "experts.*.latent_attention.latent_down.weight",
        "experts.*.latent_attention.latent_up.weight",
        "experts.*.latent_attention.output.weight",
        "experts.*.mixture_of_experts.router.weight",
        "experts.*.mixture_of_experts.gate.weight",
        "experts.*.mixture_of_experts.up.weight",
        "experts.*.mixture_of_experts.down.weight",
        "experts.*.mixture_of_experts.shared_expert.gate.weight",
        "experts.*.mixture_of_experts.shared_expert.up.weight",
        "experts.*.mixture_of_experts.shared_expert.down.weight",
        "head.weight",
        "join_next.projection.weight",
        "prediction.latent_attention.query_down.weight",
        "prediction.latent_attention.query_up.weight",
        "prediction.latent_attention.latent_down.weight",
        "prediction.latent_attention.latent_up.weight",
        "prediction.latent_attention.output.weight",
        "prediction.mixture_of_experts.router.weight",
        "prediction.mixture_of_experts.gate.weight",
        "prediction.mixture_of_experts.up.weight",
        "prediction.mixture_of_experts.down.weight",
        "prediction.mixture_of_experts.shared_expert.gate.weight",
        "prediction.mixture_of_experts.shared_expert.up.weight",
        "prediction.mixture_of_experts.shared_expert.down.weight",
    ),
    "ones": (
        "dense.*.attention_norm.weight",
        "dense.*.latent_attention.query_norm.weight",
        "dense.*.latent_attention.latent_norm.weight",
        "dense.*.feed_forward_norm.weight",
        "experts.*.attention_norm.weight",
        "experts.*.latent_attention.query_norm.weight",
        "experts.*.latent_attention.latent_norm.weight",
        "experts.*.feed_forward_norm.weight",
        "norm.weight",
        "join_next.features_norm.weight",
        "join_next.next_norm.weight",
        "prediction.attention_norm.weight",
        "prediction.latent_attention.query_norm.weight",
        "prediction.latent_attention.latent_norm.weight",
        "prediction.feed_forward_norm.weight",
        "prediction_norm.weight",
    ),
}


class LatentAttention(nn.Module):  # std/deepseek.dsk:6
    def __init__(self) -> None:
        super().__init__()
        self.query_down = nn.Linear(192, 96, bias=False)  # std/deepseek.dsk:7
        self.query_norm = nn.RMSNorm(96, eps=1e-06)  # std/deepseek.dsk:7
        self.query_up = nn.Linear(96, 288, bias=False)  # std/deepseek.dsk:8
        self.latent_down = nn.Linear(192, 80, bias=False)  # std/deepseek.dsk:10
        self.latent_norm = nn.RMSNorm(64, eps=1e-06)  # std/deepseek.dsk:11
        self.latent_up = nn.Linear(64, 384, bias=False)  # std/deepseek.dsk:11
        self.output = nn.Linear(192, 192, bias=False)  # std/deepseek.dsk:16

    def forward(self, x_BSD: Tensor) -> Tensor:
        q_latent_BSQ = self.query_norm(self.query_down(x_BSD))  # std/deepseek.dsk:7
        # std/deepseek.dsk:8
        q_BHSC = self.query_up(q_latent_BSQ).unflatten(-1, (6, 48)).transpose(1, 2)
        q_content_BHSN, q_place_BHSR = q_BHSC.split([32, 16], -1)  # std/deepseek.dsk:9
        # std/deepseek.dsk:10
        kv_latent_BSL, k_place_BSR = self.latent_down(x_BSD).split([64, 16], -1)
        latent_up_BSE = self.latent_up(self.latent_norm(kv_latent_BSL))  # std/deepseek.dsk:11
        kv_BHSL = latent_up_BSE.unflatten(-1, (6, 64)).transpose(1, 2)
        k_content_BHSN, v_BHSN = kv_BHSL.split([32, 32], -1)  # std/deepseek.dsk:12
        rope_B1SR = layers.rope(k_place_BSR.unsqueeze(1), theta=10000)  # std/deepseek.dsk:13
        k_shared_BHSR = rope_B1SR.expand(-1, 6, -1, -1)
        k_BHSC = torch.cat((k_content_BHSN, k_shared_BHSR), 3)  # std/deepseek.dsk:14
        rope_BHSR = layers.rope(q_place_BHSR, theta=10000)  # std/deepseek.dsk:15
        concat_BHSC = torch.cat((q_content_BHSN, rope_BHSR), 3)
        a_BHSN = F.scaled_dot_product_attention(concat_BHSC, k_BHSC, v_BHSN, is_causal=True)
        return self.output(a_BHSN.transpose(1, 2).flatten(2))  # std/deepseek.dsk:16


class Swiglu(nn.Module):  # std/prelude.dsk:29
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(192, 512, bias=False)  # std/prelude.dsk:30
        self.up = nn.Linear(192, 512, bias=False)  # std/prelude.dsk:31
        self.down = nn.Linear(512, 192, bias=False)  # std/prelude.dsk:32

    def forward(self, x_BSD: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x_BSD)) * self.up(x_BSD))  # std/prelude.dsk:32


class DenseLayer(nn.Module):  # std/deepseek.dsk:35
    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(192, eps=1e-06)  # std/deepseek.dsk:36
        self.latent_attention = LatentAttention()  # std/deepseek.dsk:36
        self.feed_forward_norm = nn.RMSNorm(192, eps=1e-06)  # std/deepseek.dsk:37
        self.swiglu = Swiglu()  # std/deepseek.dsk:37

    def forward(self, x_BSD: Tensor) -> Tensor:
        h_BSD = x_BSD + self.latent_attention(self.attention_norm(x_BSD))  # std/deepseek.dsk:36
        return h_BSD + self.swiglu(self.feed_forward_norm(h_BSD))  # std/deepseek.dsk:37


class Swiglu2(nn.Module):  # std/prelude.dsk:29
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(192, 128, bias=False)  # std/prelude.dsk:30
        self.up = nn.Linear(192, 128, bias=False)  # std/prelude.dsk:31
        self.down = nn.Linear(128, 192, bias=False)  # std/prelude.dsk:32

    def forward(self, x_BSD: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x_BSD)) * self.up(x_BSD))  # std/prelude.dsk:32


class MixtureOfExperts(nn.Module):  # std/deepseek.dsk:20
    def __init__(self) -> None:
        super().__init__()
        self.router = layers.Router(192, 16, 4, groups=4, kept=2)  # std/deepseek.dsk:21
        self.gate = layers.ExpertLinear(16, 192, 128)  # std/deepseek.dsk:23
        self.up = layers.ExpertLinear(16, 192, 128)  # std/deepseek.dsk:24
        self.down = layers.ExpertLinear(16, 128, 192)  # std/deepseek.dsk:25
        self.shared_expert = Swiglu2()  # std/deepseek.dsk:26

    def forward(self, x_BSD: Tensor) -> Tensor:
        weights_BSA, chosen_BSA = self.router(x_BSD)  # std/deepseek.dsk:21
        # std/deepseek.dsk:22
        rows_GD, sizes_R, order_G = layers.dispatch(x_BSD, chosen_BSA, experts=16)
        gate_GF = F.silu(self.gate(rows_GD, sizes_R))  # std/deepseek.dsk:23
        h_GF = gate_GF * self.up(rows_GD, sizes_R)  # std/deepseek.dsk:24
        # std/deepseek.dsk:25
        routed_BSD = layers.combine(self.down(h_GF, sizes_R), order_G, weights_BSA)
        return routed_BSD + self.shared_expert(x_BSD)  # std/deepseek.dsk:26


class ExpertLayer(nn.Module):  # std/deepseek.dsk:30
    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(192, eps=1e-06)  # std/deepseek.dsk:31
        self.latent_attention = LatentAttention()  # std/deepseek.dsk:31
        self.feed_forward_norm = nn.RMSNorm(192, eps=1e-06)  # std/deepseek.dsk:32
        self.mixture_of_experts = MixtureOfExperts()  # std/deepseek.dsk:32

    def forward(self, x_BSD: Tensor) -> Tensor:
        h_BSD = x_BSD + self.latent_attention(self.attention_norm(x_BSD))  # std/deepseek.dsk:31
        # std/deepseek.dsk:32
        add_BSD = h_BSD + self.mixture_of_experts(self.feed_forward_norm(h_BSD))
        return add_BSD


class JoinNext(nn.Module):  # std/deepseek.dsk:41
    def __init__(self) -> None:
        super().__init__()
        self.features_norm = nn.RMSNorm(192, eps=1e-06)  # std/deepseek.dsk:42
        self.next_norm = nn.RMSNorm(192, eps=1e-06)  # std/deepseek.dsk:42
        self.projection = nn.Linear(384, 192, bias=False)  # std/deepseek.dsk:42

    def forward(self, h_BSD: Tensor, next_BSD: Tensor) -> Tensor:
        # std/deepseek.dsk:42
        concat_BSE = torch.cat((self.features_norm(h_BSD), self.next_norm(next_BSD)), -1)
        return self.projection(concat_BSE)


class Deepseek(nn.Module):  # deepseek_small.dsk:17
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(2048, 192)  # deepseek_small.dsk:18
        self.dense = nn.ModuleList(DenseLayer() for _ in range(1))  # deepseek_small.dsk:19
        self.experts = nn.ModuleList(ExpertLayer() for _ in range(3))  # deepseek_small.dsk:22
        self.norm = nn.RMSNorm(192, eps=1e-06)  # deepseek_small.dsk:25
        self.head = nn.Linear(192, 2048, bias=False)  # deepseek_small.dsk:25
        self.join_next = JoinNext()  # deepseek_small.dsk:29
        self.prediction = ExpertLayer()  # deepseek_small.dsk:30
        self.prediction_norm = nn.RMSNorm(192, eps=1e-06)  # deepseek_small.dsk:31

    def outputs(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The prediction, and what the objectives need of the way to it."""
        x_BSD = self.embedding(tokens)  # deepseek_small.dsk:18
        for dense_layer in self.dense:  # deepseek_small.dsk:19
            x_BSD = dense_layer(x_BSD)
        for expert in self.experts:  # deepseek_small.dsk:22
            x_BSD = expert(x_BSD)
        logits_BSV = self.head(self.norm(x_BSD))  # deepseek_small.dsk:25
        return logits_BSV, x_BSD

    def forward(self, tokens: Tensor) -> Tensor:
        """The prediction."""
        return self.outputs(tokens)[0]

    def objectives(self, tokens: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The loss that is minimised; its parts and the metrics follow by name."""
        logits_BSV, x_BSD = self.outputs(tokens)
        next_token = layers.cross_entropy(logits_BSV, targets)  # deepseek_small.dsk:26
        joined_BSD = self.join_next(x_BSD, self.embedding(targets))  # deepseek_small.dsk:29
        further_BSD = self.prediction(joined_BSD)  # deepseek_small.dsk:30
        further_logits_BSV = self.head(self.prediction_norm(further_BSD))  # deepseek_small.dsk:31
        # deepseek_small.dsk:32
        token_after = layers.cross_entropy(further_logits_BSV[:, :-1], targets[:, 1:])
        return {
            "loss": next_token + 0.3 * token_after,
            "next_token": next_token,
            "token_after": token_after,
        }

    def initialize(self, seed: int) -> None:
        """Sets the start values of all parameters."""
        initialize(self, INITIAL, seed)
