"""Model `clip`, 151.3 M parameters. Written by dskc from clip.dsk; yours to edit.

The end of a name tells the sizes of the tensor, one letter each:
    B  batch
    S  sequence
    C  3 (C)
    H  224 (H)
    O  512 (out)
    I  768 (image_dim)
    M  12 (image_depth)
    K  64 (head_dim)
    D  3072 (hidden)
    T  8 (text_heads)
    F  2048 (hidden)
    E  50
    G  7
    J  49
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from dskc.runtime import layers
from dskc.runtime.initialize import initialize
from torch import Tensor, nn

# Start values: each parameter draws from the seed and its own name.
INITIAL = {
    "kaiming": ("clip.image_tower.patch_embedding.weight",),
    "normal(0.02)": (
        "clip.image_tower.class_token.weight",
        "clip.image_tower.positions.weight",
        "clip.image_tower.layers.*.self_attention.query.weight",
        "clip.image_tower.layers.*.self_attention.key.weight",
        "clip.image_tower.layers.*.self_attention.value.weight",
        "clip.image_tower.layers.*.self_attention.output.weight",
        "clip.image_tower.layers.*.mlp.up.weight",
        "clip.image_tower.layers.*.mlp.down.weight",
        "clip.text_tower.token_embedding.weight",
        "clip.text_tower.layers.*.self_attention.query.weight",
        "clip.text_tower.layers.*.self_attention.key.weight",
        "clip.text_tower.layers.*.self_attention.value.weight",
        "clip.text_tower.layers.*.self_attention.output.weight",
        "clip.text_tower.layers.*.mlp.up.weight",
        "clip.text_tower.layers.*.mlp.down.weight",
        "clip.image_projection.weight",
        "clip.text_projection.weight",
    ),
    "ones": (
        "clip.image_tower.first_norm.weight",
        "clip.image_tower.layers.*.attention_norm.weight",
        "clip.image_tower.layers.*.feed_forward_norm.weight",
        "clip.image_tower.layer_norm.weight",
        "clip.text_tower.layers.*.attention_norm.weight",
        "clip.text_tower.layers.*.feed_forward_norm.weight",
        "clip.text_tower.layer_norm.weight",
    ),
    "zeros": (
        "clip.image_tower.first_norm.bias",
        "clip.image_tower.layers.*.attention_norm.bias",
        "clip.image_tower.layers.*.self_attention.query.bias",
        "clip.image_tower.layers.*.self_attention.key.bias",
        "clip.image_tower.layers.*.self_attention.value.bias",
        "clip.image_tower.layers.*.self_attention.output.bias",
        "clip.image_tower.layers.*.feed_forward_norm.bias",
        "clip.image_tower.layers.*.mlp.up.bias",
        "clip.image_tower.layers.*.mlp.down.bias",
        "clip.image_tower.layer_norm.bias",
        "clip.text_tower.layers.*.attention_norm.bias",
        "clip.text_tower.layers.*.self_attention.query.bias",
        "clip.text_tower.layers.*.self_attention.key.bias",
        "clip.text_tower.layers.*.self_attention.value.bias",
        "clip.text_tower.layers.*.self_attention.output.bias",
        "clip.text_tower.layers.*.feed_forward_norm.bias",
        "clip.text_tower.layers.*.mlp.up.bias",
        "clip.text_tower.layers.*.mlp.down.bias",
        "clip.text_tower.layer_norm.bias",
    ),
    "normal(0.01)": ("clip.text_tower.position_embedding.weight",),
    "constant(2.6592)": ("clip.logit_scale.weight",),
}

# What weight decay acts on.
DECAYING = (
    "clip.image_tower.patch_embedding.weight",
    "clip.image_tower.layers.*.self_attention.query.weight",
    "clip.image_tower.layers.*.self_attention.key.weight",
    "clip.image_tower.layers.*.self_attention.value.weight",
    "clip.image_tower.layers.*.self_attention.output.weight",
    "clip.image_tower.layers.*.mlp.up.weight",
    "clip.image_tower.layers.*.mlp.down.weight",
    "clip.text_tower.token_embedding.weight",
    "clip.text_tower.position_embedding.weight",
    "clip.text_tower.layers.*.self_attention.query.weight",
    "clip.text_tower.layers.*.self_attention.key.weight",
    "clip.text_tower.layers.*.self_attention.value.weight",
    "clip.text_tower.layers.*.self_attention.output.weight",
    "clip.text_tower.layers.*.mlp.up.weight",
    "clip.text_tower.layers.*.mlp.down.weight",
    "clip.image_projection.weight",
    "clip.text_projection.weight",
)


class SelfAttention(nn.Module):  # std/prelude.dsk:7
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(768, 768)  # std/prelude.dsk:10
        self.key = nn.Linear(768, 768)  # std/prelude.dsk:11
        self.value = nn.Linear(768, 768)  # std/prelude.dsk:12
        self.output = nn.Linear(768, 768)  # std/prelude.dsk:25

    def forward(self, x_BEI: Tensor) -> Tensor:
        q_BMEK = self.query(x_BEI).unflatten(-1, (12, 64)).transpose(1, 2)  # std/prelude.dsk:13
        k_BMEK = self.key(x_BEI).unflatten(-1, (12, 64)).transpose(1, 2)  # std/prelude.dsk:14
        v_BMEK = self.value(x_BEI).unflatten(-1, (12, 64)).transpose(1, 2)  # std/prelude.dsk:15
        attended_BMEK = F.scaled_dot_product_attention(q_BMEK, k_BMEK, v_BMEK)  # std/prelude.dsk:24
        return self.output(attended_BMEK.transpose(1, 2).flatten(2))  # std/prelude.dsk:25


class Mlp(nn.Module):  # std/prelude.dsk:36
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(768, 3072)  # std/prelude.dsk:37
        self.down = nn.Linear(3072, 768)  # std/prelude.dsk:38

    def forward(self, x_BEI: Tensor) -> Tensor:
        h_BED = layers.quick_gelu(self.up(x_BEI))  # std/prelude.dsk:37
        return self.down(h_BED)  # std/prelude.dsk:38


class EncoderLayer(nn.Module):  # std/transformer.dsk:12
    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(768, eps=1e-05)  # std/transformer.dsk:13
        self.self_attention = SelfAttention()  # std/transformer.dsk:13
        self.feed_forward_norm = nn.LayerNorm(768, eps=1e-05)  # std/transformer.dsk:14
        self.mlp = Mlp()  # std/transformer.dsk:14

    def forward(self, x_BEI: Tensor) -> Tensor:
        h_BEI = x_BEI + self.self_attention(self.attention_norm(x_BEI))  # std/transformer.dsk:13
        return h_BEI + self.mlp(self.feed_forward_norm(h_BEI))  # std/transformer.dsk:14


class VitFeatures(nn.Module):  # std/vision.dsk:49
    def __init__(self) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, 768, 32, stride=32, bias=False)  # std/vision.dsk:51
        self.class_token = layers.Learned((1, 1, 768))  # std/vision.dsk:53
        self.positions = layers.Learned((1, 50, 768))  # std/vision.dsk:55
        self.first_norm = nn.LayerNorm(768, eps=1e-05)  # std/vision.dsk:56
        self.layers = nn.ModuleList(EncoderLayer() for _ in range(12))  # std/vision.dsk:57
        self.layer_norm = nn.LayerNorm(768, eps=1e-05)  # std/vision.dsk:58

    def forward(self, images_BCHH: Tensor) -> Tensor:
        patches_BIGG = self.patch_embedding(images_BCHH)  # std/vision.dsk:51
        x_BJI = patches_BIGG.permute(0, 2, 3, 1).flatten(1, 2)  # std/vision.dsk:52
        # std/vision.dsk:53
        class_token_B1I = self.class_token().expand(images_BCHH.shape[0], -1, -1)
        x_BEI = torch.cat((class_token_B1I, x_BJI), 1)  # std/vision.dsk:54
        x_BEI = x_BEI + self.positions()  # std/vision.dsk:55
        x_BEI = self.first_norm(x_BEI)  # std/vision.dsk:56
        for layer in self.layers:  # std/vision.dsk:57
            x_BEI = layer(x_BEI)
        return self.layer_norm(x_BEI)[:, 0]  # std/vision.dsk:58


class SelfAttention2(nn.Module):  # std/prelude.dsk:7
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(512, 512)  # std/prelude.dsk:10
        self.key = nn.Linear(512, 512)  # std/prelude.dsk:11
        self.value = nn.Linear(512, 512)  # std/prelude.dsk:12
        self.output = nn.Linear(512, 512)  # std/prelude.dsk:25

    def forward(self, x_BSO: Tensor) -> Tensor:
        q_BTSK = self.query(x_BSO).unflatten(-1, (8, 64)).transpose(1, 2)  # std/prelude.dsk:13
        k_BTSK = self.key(x_BSO).unflatten(-1, (8, 64)).transpose(1, 2)  # std/prelude.dsk:14
        v_BTSK = self.value(x_BSO).unflatten(-1, (8, 64)).transpose(1, 2)  # std/prelude.dsk:15
        # std/prelude.dsk:24
        attended_BTSK = F.scaled_dot_product_attention(q_BTSK, k_BTSK, v_BTSK, is_causal=True)
        return self.output(attended_BTSK.transpose(1, 2).flatten(2))  # std/prelude.dsk:25


class Mlp2(nn.Module):  # std/prelude.dsk:36
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(512, 2048)  # std/prelude.dsk:37
        self.down = nn.Linear(2048, 512)  # std/prelude.dsk:38

    def forward(self, x_BSO: Tensor) -> Tensor:
        h_BSF = layers.quick_gelu(self.up(x_BSO))  # std/prelude.dsk:37
        return self.down(h_BSF)  # std/prelude.dsk:38


class EncoderLayer2(nn.Module):  # std/transformer.dsk:12
    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(512, eps=1e-05)  # std/transformer.dsk:13
        self.self_attention = SelfAttention2()  # std/transformer.dsk:13
        self.feed_forward_norm = nn.LayerNorm(512, eps=1e-05)  # std/transformer.dsk:14
        self.mlp = Mlp2()  # std/transformer.dsk:14

    def forward(self, x_BSO: Tensor) -> Tensor:
        h_BSO = x_BSO + self.self_attention(self.attention_norm(x_BSO))  # std/transformer.dsk:13
        return h_BSO + self.mlp(self.feed_forward_norm(h_BSO))  # std/transformer.dsk:14


class TextFeatures(nn.Module):  # std/clip.dsk:9
    def __init__(self) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(49408, 512)  # std/clip.dsk:10
        self.position_embedding = nn.Embedding(77, 512)  # std/clip.dsk:11
        self.layers = nn.ModuleList(EncoderLayer2() for _ in range(12))  # std/clip.dsk:12
        self.layer_norm = nn.LayerNorm(512, eps=1e-05)  # std/clip.dsk:13

    def forward(self, tokens_BS: Tensor) -> Tensor:
        x_BSO = self.token_embedding(tokens_BS)  # std/clip.dsk:10
        positions_S = torch.arange(tokens_BS.shape[1], device=tokens_BS.device)  # std/clip.dsk:11
        position_embedding_SO = self.position_embedding(positions_S)
        x_BSO = x_BSO + position_embedding_SO
        for layer in self.layers:  # std/clip.dsk:12
            x_BSO = layer(x_BSO)
        return self.layer_norm(x_BSO)[:, -1]  # std/clip.dsk:13


class Clip2(nn.Module):  # std/clip.dsk:17
    def __init__(self) -> None:
        super().__init__()
        self.image_tower = VitFeatures()  # std/clip.dsk:18
        self.text_tower = TextFeatures()  # std/clip.dsk:19
        self.image_projection = nn.Linear(768, 512, bias=False)  # std/clip.dsk:20
        self.text_projection = nn.Linear(512, 512, bias=False)  # std/clip.dsk:21
        self.logit_scale = layers.Learned(())  # std/clip.dsk:23

    def forward(self, images_BCHH: Tensor, tokens_BS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        i_BI = self.image_tower(images_BCHH)  # std/clip.dsk:18
        t_BO = self.text_tower(tokens_BS)  # std/clip.dsk:19
        image_BO = F.normalize(self.image_projection(i_BI), dim=-1)  # std/clip.dsk:20
        text_BO = F.normalize(self.text_projection(t_BO), dim=-1)  # std/clip.dsk:21
        scale = self.logit_scale().clamp(max=4.6052).exp()  # std/clip.dsk:23
        return image_BO, text_BO, scale


class Clip(nn.Module):  # clip.dsk:8
    def __init__(self) -> None:
        super().__init__()
        self.clip = Clip2()  # clip.dsk:9

    def outputs(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The prediction, and what the objectives need of the way to it."""
        image_BO, text_BO, scale = self.clip(images, tokens)  # clip.dsk:9
        return image_BO, text_BO, scale

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        """The prediction."""
        return self.outputs(images, tokens)[0]

    def objectives(self, images: Tensor, tokens: Tensor) -> dict[str, Tensor]:
        """The loss that is minimised; its parts and the metrics follow by name."""
        image_BO, text_BO, scale = self.outputs(images, tokens)
        contrastive = layers.contrastive(image_BO, text_BO, scale)  # clip.dsk:13
        return {"loss": contrastive}

    def initialize(self, seed: int) -> None:
        """Sets the start values of all parameters."""
        initialize(self, INITIAL, seed)
