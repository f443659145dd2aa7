"""Model `vit_digits`, 202.2 k parameters. Written by dskc from vit_digits.dsk; yours to edit.

The end of a name tells the sizes of the tensor, one letter each:
    B  batch
    N  10 (data.classes)
    H  8 (H)
    D  64 (dim)
    E  4 (depth)
    S  17 (sequence)
    K  16 (head_dim)
    F  256 (hidden)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from dskc.runtime import layers
from dskc.runtime.initialize import initialize
from torch import Tensor, nn

# Start values: each parameter draws from the seed and its own name.
INITIAL = {
    "kaiming": ("vit.encoder.patch_embedding.weight",),
    "zeros": (
        "vit.encoder.patch_embedding.bias",
        "vit.encoder.layers.*.attention_norm.bias",
        "vit.encoder.layers.*.self_attention.query.bias",
        "vit.encoder.layers.*.self_attention.key.bias",
        "vit.encoder.layers.*.self_attention.value.bias",
        "vit.encoder.layers.*.self_attention.output.bias",
        "vit.encoder.layers.*.feed_forward_norm.bias",
        "vit.encoder.layers.*.mlp.up.bias",
        "vit.encoder.layers.*.mlp.down.bias",
        "vit.encoder.layer_norm.bias",
        "vit.head.bias",
    ),
    "normal(0.02)": (
        "vit.encoder.class_token.weight",
        "vit.encoder.positions.weight",
        "vit.encoder.layers.*.self_attention.query.weight",
        "vit.encoder.layers.*.self_attention.key.weight",
        "vit.encoder.layers.*.self_attention.value.weight",
        "vit.encoder.layers.*.self_attention.output.weight",
        "vit.encoder.layers.*.mlp.up.weight",
        "vit.encoder.layers.*.mlp.down.weight",
        "vit.head.weight",
    ),
    "ones": (
        "vit.encoder.layers.*.attention_norm.weight",
        "vit.encoder.layers.*.feed_forward_norm.weight",
        "vit.encoder.layer_norm.weight",
    ),
}

# What weight decay acts on.
DECAYING = (
    "vit.encoder.patch_embedding.weight",
    "vit.encoder.layers.*.self_attention.query.weight",
    "vit.encoder.layers.*.self_attention.key.weight",
    "vit.encoder.layers.*.self_attention.value.weight",
    "vit.encoder.layers.*.self_attention.output.weight",
    "vit.encoder.layers.*.mlp.up.weight",
    "vit.encoder.layers.*.mlp.down.weight",
    "vit.head.weight",
)


class SelfAttention(nn.Module):  # std/prelude.dsk:7
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(64, 64)  # std/prelude.dsk:10
        self.key = nn.Linear(64, 64)  # std/prelude.dsk:11
        self.value = nn.Linear(64, 64)  # std/prelude.dsk:12
        self.output = nn.Linear(64, 64)  # std/prelude.dsk:25

    def forward(self, x_BSD: Tensor) -> Tensor:
        q_BESK = self.query(x_BSD).unflatten(-1, (4, 16)).transpose(1, 2)  # std/prelude.dsk:13
        k_BESK = self.key(x_BSD).unflatten(-1, (4, 16)).transpose(1, 2)  # std/prelude.dsk:14
        v_BESK = self.value(x_BSD).unflatten(-1, (4, 16)).transpose(1, 2)  # std/prelude.dsk:15
        attended_BESK = F.scaled_dot_product_attention(q_BESK, k_BESK, v_BESK)  # std/prelude.dsk:24
        return self.output(attended_BESK.transpose(1, 2).flatten(2))  # std/prelude.dsk:25


class Mlp(nn.Module):  # std/prelude.dsk:36
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(64, 256)  # std/prelude.dsk:37
        self.down = nn.Linear(256, 64)  # std/prelude.dsk:38

    def forward(self, x_BSD: Tensor) -> Tensor:
        h_BSF = F.gelu(self.up(x_BSD))  # std/prelude.dsk:37
        return self.down(h_BSF)  # std/prelude.dsk:38


class EncoderLayer(nn.Module):  # std/transformer.dsk:12
    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(64, eps=1e-06)  # std/transformer.dsk:13
        self.self_attention = SelfAttention()  # std/transformer.dsk:13
        self.feed_forward_norm = nn.LayerNorm(64, eps=1e-06)  # std/transformer.dsk:14
        self.mlp = Mlp()  # std/transformer.dsk:14

    def forward(self, x_BSD: Tensor) -> Tensor:
        h_BSD = x_BSD + self.self_attention(self.attention_norm(x_BSD))  # std/transformer.dsk:13
        return h_BSD + self.mlp(self.feed_forward_norm(h_BSD))  # std/transformer.dsk:14


class VitFeatures(nn.Module):  # std/vision.dsk:49
    def __init__(self) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(1, 64, 2, stride=2)  # std/vision.dsk:51
        self.class_token = layers.Learned((1, 1, 64))  # std/vision.dsk:53
        self.positions = layers.Learned((1, 17, 64))  # std/vision.dsk:55
        self.layers = nn.ModuleList(EncoderLayer() for _ in range(4))  # std/vision.dsk:57
        self.layer_norm = nn.LayerNorm(64, eps=1e-06)  # std/vision.dsk:58

    def forward(self, images_B1HH: Tensor) -> Tensor:
        patches_BDEE = self.patch_embedding(images_B1HH)  # std/vision.dsk:51
        x_BKD = patches_BDEE.permute(0, 2, 3, 1).flatten(1, 2)  # std/vision.dsk:52
        # std/vision.dsk:53
        class_token_B1D = self.class_token().expand(images_B1HH.shape[0], -1, -1)
        x_BSD = torch.cat((class_token_B1D, x_BKD), 1)  # std/vision.dsk:54
        x_BSD = x_BSD + self.positions()  # std/vision.dsk:55
        for layer in self.layers:  # std/vision.dsk:57
            x_BSD = layer(x_BSD)
        return self.layer_norm(x_BSD)[:, 0]  # std/vision.dsk:58


class Vit(nn.Module):  # std/vision.dsk:61
    def __init__(self) -> None:
        super().__init__()
        self.encoder = VitFeatures()  # std/vision.dsk:62
        self.head = nn.Linear(64, 10)  # std/vision.dsk:63

    def forward(self, images_B1HH: Tensor) -> Tensor:
        features_BD = self.encoder(images_B1HH)  # std/vision.dsk:62
        return self.head(features_BD)  # std/vision.dsk:63


class VitDigits(nn.Module):  # vit_digits.dsk:10
    def __init__(self) -> None:
        super().__init__()
        self.vit = Vit()  # vit_digits.dsk:11

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, N] of images [B, 1, H, H]."""
        logits_BN = self.vit(images)  # vit_digits.dsk:11
        return logits_BN

    def objectives(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss that is minimised; its parts and the metrics follow by name."""
        logits_BN = self(images)
        cross_entropy = layers.cross_entropy(logits_BN, labels)  # vit_digits.dsk:12
        accuracy = layers.accuracy(logits_BN, labels)  # vit_digits.dsk:13
        return {"loss": cross_entropy, "accuracy": accuracy}

    def initialize(self, seed: int) -> None:
        """Sets the start values of all parameters."""
        initialize(self, INITIAL, seed)
