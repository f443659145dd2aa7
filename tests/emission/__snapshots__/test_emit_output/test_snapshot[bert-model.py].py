"""Model `bert`, 109.5 M parameters. Written by dskc from bert.dsk; yours to edit.

The end of a name tells the sizes of the tensor, one letter each:
    B  batch
    S  sequence
    V  30_522 (data.vocab)
    D  768 (dim)
    E  12 (depth)
    K  64 (head_dim)
    F  3072 (hidden)
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
        "bert.encoder.word_embedding.weight",
        "bert.encoder.position_embedding.weight",
        "bert.encoder.layers.*.self_attention.query.weight",
        "bert.encoder.layers.*.self_attention.key.weight",
        "bert.encoder.layers.*.self_attention.value.weight",
        "bert.encoder.layers.*.self_attention.output.weight",
        "bert.encoder.layers.*.mlp.up.weight",
        "bert.encoder.layers.*.mlp.down.weight",
        "bert.transform.weight",
    ),
    "ones": (
        "bert.encoder.embedding_norm.weight",
        "bert.encoder.layers.*.attention_norm.weight",
        "bert.encoder.layers.*.feed_forward_norm.weight",
        "bert.transform_norm.weight",
    ),
    "zeros": (
        "bert.encoder.embedding_norm.bias",
        "bert.encoder.layers.*.self_attention.query.bias",
        "bert.encoder.layers.*.self_attention.key.bias",
        "bert.encoder.layers.*.self_attention.value.bias",
        "bert.encoder.layers.*.self_attention.output.bias",
        "bert.encoder.layers.*.attention_norm.bias",
        "bert.encoder.layers.*.mlp.up.bias",
        "bert.encoder.layers.*.mlp.down.bias",
        "bert.encoder.layers.*.feed_forward_norm.bias",
        "bert.transform.bias",
        "bert.transform_norm.bias",
        "bert.linear.bias",
    ),
}


class SelfAttention(nn.Module):  # std/prelude.dsk:7
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(768, 768)  # std/prelude.dsk:10
        self.key = nn.Linear(768, 768)  # std/prelude.dsk:11
        self.value = nn.Linear(768, 768)  # std/prelude.dsk:12
        self.output = nn.Linear(768, 768)  # std/prelude.dsk:25

    def forward(self, x_BSD: Tensor) -> Tensor:
        q_BESK = self.query(x_BSD).unflatten(-1, (12, 64)).transpose(1, 2)  # std/prelude.dsk:13
        k_BESK = self.key(x_BSD).unflatten(-1, (12, 64)).transpose(1, 2)  # std/prelude.dsk:14
        v_BESK = self.value(x_BSD).unflatten(-1, (12, 64)).transpose(1, 2)  # std/prelude.dsk:15
        attended_BESK = F.scaled_dot_product_attention(q_BESK, k_BESK, v_BESK)  # std/prelude.dsk:24
        return self.output(attended_BESK.transpose(1, 2).flatten(2))  # std/prelude.dsk:25


class Mlp(nn.Module):  # std/prelude.dsk:36
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(768, 3072)  # std/prelude.dsk:37
        self.down = nn.Linear(3072, 768)  # std/prelude.dsk:38

    def forward(self, x_BSD: Tensor) -> Tensor:
        h_BSF = F.gelu(self.up(x_BSD))  # std/prelude.dsk:37
        return self.down(h_BSF)  # std/prelude.dsk:38


class PostNormLayer(nn.Module):  # std/transformer.dsk:18
    def __init__(self) -> None:
        super().__init__()
        self.self_attention = SelfAttention()  # std/transformer.dsk:19
        self.attention_norm = nn.LayerNorm(768, eps=1e-12)  # std/transformer.dsk:20
        self.mlp = Mlp()  # std/transformer.dsk:21
        self.feed_forward_norm = nn.LayerNorm(768, eps=1e-12)  # std/transformer.dsk:22

    def forward(self, x_BSD: Tensor) -> Tensor:
        a_BSD = self.self_attention(x_BSD)  # std/transformer.dsk:19
        # std/transformer.dsk:20
        h_BSD = self.attention_norm(x_BSD + F.dropout(a_BSD, 0.1, training=self.training))
        m_BSD = self.mlp(h_BSD)  # std/transformer.dsk:21
        add_BSD = h_BSD + F.dropout(m_BSD, 0.1, training=self.training)  # std/transformer.dsk:22
        feed_forward_norm_BSD = self.feed_forward_norm(add_BSD)
        return feed_forward_norm_BSD


class BertEncoder(nn.Module):  # std/bert.dsk:7
    def __init__(self) -> None:
        super().__init__()
        self.word_embedding = nn.Embedding(30522, 768)  # std/bert.dsk:8
        self.position_embedding = nn.Embedding(512, 768)  # std/bert.dsk:9
        self.embedding_norm = nn.LayerNorm(768, eps=1e-12)  # std/bert.dsk:10
        self.layers = nn.ModuleList(PostNormLayer() for _ in range(12))  # std/bert.dsk:11

    def forward(self, tokens_BS: Tensor) -> Tensor:
        words_BSD = self.word_embedding(tokens_BS)  # std/bert.dsk:8
        positions_S = torch.arange(tokens_BS.shape[1], device=tokens_BS.device)  # std/bert.dsk:9
        places_SD = self.position_embedding(positions_S)
        embedding_norm_BSD = self.embedding_norm(words_BSD + places_SD)  # std/bert.dsk:10
        x_BSD = F.dropout(embedding_norm_BSD, 0.1, training=self.training)
        for layer in self.layers:  # std/bert.dsk:11
            x_BSD = layer(x_BSD)
        return x_BSD


class Bert2(nn.Module):  # std/bert.dsk:16
    def __init__(self) -> None:
        super().__init__()
        self.encoder = BertEncoder()  # std/bert.dsk:17
        self.transform = nn.Linear(768, 768)  # std/bert.dsk:18
        self.transform_norm = nn.LayerNorm(768, eps=1e-12)  # std/bert.dsk:18
        self.linear = nn.Linear(768, 30522)  # std/bert.dsk:19
        self.linear.weight = self.encoder.word_embedding.weight

    def forward(self, tokens_BS: Tensor) -> Tensor:
        x_BSD = self.encoder(tokens_BS)  # std/bert.dsk:17
        h_BSD = self.transform_norm(F.gelu(self.transform(x_BSD)))  # std/bert.dsk:18
        return self.linear(h_BSD)  # std/bert.dsk:19


class Bert(nn.Module):  # bert.dsk:8
    def __init__(self) -> None:
        super().__init__()
        self.bert = Bert2()  # bert.dsk:9

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, S, V] of tokens [B, S]."""
        logits_BSV = self.bert(tokens)  # bert.dsk:9
        return logits_BSV

    def objectives(self, tokens: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The loss that is minimised; its parts and the metrics follow by name."""
        logits_BSV = self(tokens)
        cross_entropy = layers.cross_entropy(logits_BSV, targets)  # bert.dsk:10
        accuracy = layers.accuracy(logits_BSV, targets)  # bert.dsk:11
        return {"loss": cross_entropy, "accuracy": accuracy}

    def initialize(self, seed: int) -> None:
        """Sets the start values of all parameters."""
        initialize(self, INITIAL, seed)
