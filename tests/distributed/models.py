"""Small models whose parameters can be split over ranks, and what is needed to compare them with one process."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dskc.runtime import collectives
from dskc.runtime.initialize import initialize
from dskc.runtime.mesh import Axis, Mesh

CPU = torch.device("cpu")
SPLIT = {"embedding.weight": 1, "layers.*.up.weight": 0, "layers.*.down.weight": 1}
SUMMED = ("layers.*.scale",)
VOCAB, WIDTH, DEPTH = 10, 8, 3
INITIAL = {
    "normal(0.5)": ("embedding.weight", "linear.bias"),
    "kaiming": ("layers.*.up.weight", "layers.*.down.weight"),
    "ones": ("layers.*.scale", "layers.*.norm.weight"),
    "uniform(0.3)": ("layers.*.norm.bias", "unused"),
}
ONE = Mesh().axis("tensor")


class Layer(nn.Module):
    """Two products, split as Megatron does; `scale` sees a part of the width, so its gradient is partial."""

    def __init__(self, axis: Axis) -> None:
        super().__init__()
        self.axis = axis
        self.norm = nn.LayerNorm(WIDTH)
        self.scale = nn.Parameter(torch.zeros(()))
        self.up = nn.Linear(WIDTH, 4 * WIDTH // axis.size, bias=False)
        self.down = nn.Linear(4 * WIDTH // axis.size, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(collectives.copy(self.norm(x), self.axis))
        return x + collectives.all_reduce(self.down((self.scale * h).tanh()), self.axis)


class Net(nn.Module):
    """An embedding, layers, and a head that is tied to the embedding; one parameter gets no gradient."""

    def __init__(self, axis: Axis = ONE) -> None:
        super().__init__()
        self.axis = axis
        self.embedding = nn.Embedding(VOCAB, WIDTH // axis.size)
        self.layers = nn.ModuleList(Layer(axis) for _ in range(DEPTH))
        self.linear = nn.Linear(WIDTH // axis.size, VOCAB)
        self.linear.weight = self.embedding.weight
        self.unused = nn.Parameter(torch.zeros(3, 5))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, tokens: Tensor) -> Tensor:
        x = collectives.all_gather(self.embedding(tokens), self.axis, -1)
        for layer in self.layers:
            x = layer(x)
        x = collectives.split(x, self.axis, -1)
        return collectives.all_reduce(F.linear(x, self.linear.weight), self.axis) + self.linear.bias

    def objectives(self, tokens: Tensor, targets: Tensor, counted: Tensor) -> dict[str, Tensor]:
        """The sum over the targets of this rank, over the number of those of the whole step."""
        loss = F.cross_entropy(self(tokens).flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")
        return {"loss": loss / counted}

    def initialize(self, seed: int) -> None:
        initialize(self, INITIAL, seed)


def counts(tokens: Tensor, targets: Tensor) -> Tensor:
    """How many targets of a batch count."""
    return (targets != -100).sum()


def batch(samples: int, seed: int = 5) -> dict[str, Tensor]:
    """Tokens and targets, a third of which do not count."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCAB, (samples, 6), generator=generator)
    targets = torch.randint(VOCAB, (samples, 6), generator=generator)
    return {"tokens": tokens, "targets": targets.where(torch.rand(samples, 6, generator=generator) > 0.33, -100)}
