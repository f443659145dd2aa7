"""Text from a language model: any module whose call on tokens [B, S] gives logits [B, S, V]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def choose(logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator) -> Tensor:
    """One id per row of logits [B, V]; temperature 0 takes the likeliest, `top_k` leaves that many to choose from."""
    if temperature == 0.0:
        return logits.argmax(dim=-1, keepdim=True)
    logits = logits.float() / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        smallest = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, float("-inf"))
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)


@torch.no_grad()
def tokens(
    model: nn.Module,
    prompt: Sequence[int],
    length: int,
    sequence: int,
    seed: int,
    temperature: float = 0.8,
    top_k: int | None = 50,
    vocab: int | None = None,
) -> list[int]:
    """The prompt and `length` ids after it; the model sees at most the last `sequence` of them.

    `vocab` leaves out ids at and above it, which the model has but the tokenizer does not.
    """
    if not prompt:
        raise ValueError("generation needs at least one token to begin with")
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    ids = torch.tensor([list(prompt)], device=device)
    training = model.training
    model.eval()
    for _ in range(length):
        logits = model(ids[:, -sequence:])[:, -1, :vocab]
        ids = torch.cat([ids, choose(logits, temperature, top_k, generator)], dim=1)
    model.train(training)
    return ids[0].tolist()
