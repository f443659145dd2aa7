"""A loop written by hand for this one model, in the manner of nanoGPT:  handwritten.py eager|compiled bf16|fp32"""

from __future__ import annotations

import math
import sys

import torch
import torch.nn.functional as F
from common import (
    ACCUMULATION,
    DEPTH,
    DIM,
    EPS,
    FLOOR,
    HEADS,
    HIDDEN,
    KV_HEADS,
    MICRO_BATCH,
    RATE,
    SEQUENCE,
    STEPS,
    THETA,
    VOCAB,
    WARMUP,
    Turns,
    batch,
    start_values,
)  # fmt: skip
from torch import Tensor, nn

SIZE = DIM // HEADS


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions; x [B, H, S, K]."""
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(DIM, eps=EPS)
        self.qkv = nn.Linear(DIM, (HEADS + 2 * KV_HEADS) * SIZE, bias=False)
        self.proj = nn.Linear(DIM, DIM, bias=False)
        self.norm2 = nn.RMSNorm(DIM, eps=EPS)
        self.gate = nn.Linear(DIM, HIDDEN, bias=False)
        self.up = nn.Linear(DIM, HIDDEN, bias=False)
        self.down = nn.Linear(HIDDEN, DIM, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        heads = self.qkv(self.norm1(x)).unflatten(-1, (-1, SIZE)).transpose(1, 2)
        q, k, v = heads.split([HEADS, KV_HEADS, KV_HEADS], 1)
        q, k = turned(q, cos, sin), turned(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.proj(y.transpose(1, 2).flatten(2))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class GPT(nn.Module):
    cos: Tensor
    sin: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(VOCAB, DIM)
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm = nn.RMSNorm(DIM, eps=EPS)
        self.head = nn.Linear(DIM, VOCAB, bias=False)
        angles = torch.outer(torch.arange(SEQUENCE), THETA ** (-torch.arange(0, SIZE, 2) / SIZE))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = self.wte(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def load(model: GPT) -> None:
    """The start values that all contestants have."""
    values = start_values()
    own = {"wte.weight": values["embedding.weight"], "norm.weight": values["rms_norm.weight"]}
    own["head.weight"] = values["linear.weight"]
    for i in range(DEPTH):
        part = f"layers.{i}.self_attention."
        own[f"blocks.{i}.qkv.weight"] = torch.cat(
            [values[f"{part}{name}.weight"] for name in ("query", "key", "value")]
        )
        own[f"blocks.{i}.proj.weight"] = values[f"{part}output.weight"]
        own[f"blocks.{i}.norm1.weight"] = values[f"layers.{i}.attention_norm.weight"]
        own[f"blocks.{i}.norm2.weight"] = values[f"layers.{i}.feed_forward_norm.weight"]
        own |= {
            f"blocks.{i}.{name}.weight": values[f"layers.{i}.swiglu.{name}.weight"] for name in ("gate", "up", "down")
        }
    model.load_state_dict(own)


def rate(step: int) -> float:
    """Warm-up, then half a cosine down to a tenth."""
    if step < WARMUP:
        return RATE * (step + 1) / WARMUP
    share = (step - WARMUP) / (STEPS - WARMUP)
    return RATE * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share)))


def train(name: str, model: nn.Module, compiled: bool, precision: torch.dtype) -> None:
    """Steps for ever, as often as it is this contestant's turn."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), eps=1e-8, fused=True)
    parameters = list(model.parameters())
    forward = torch.compile(model) if compiled else model
    turns = Turns(name, sum(p.numel() for p in parameters))
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        total = torch.zeros(())
        for micro in range(ACCUMULATION):
            rows = batch((step * ACCUMULATION + micro) * MICRO_BATCH)
            with torch.autocast("cpu", precision, enabled=precision != torch.float32):
                loss = forward(rows["tokens"], rows["targets"]) / ACCUMULATION
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        turns.step(total.item())


def arguments() -> tuple[str, bool, torch.dtype]:
    """The name that the command line stands for, whether to compile, and the precision."""
    how, precision = sys.argv[1:]
    return f"{how} {precision}", how == "compiled", {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]


if __name__ == "__main__":
    name, compiled, precision = arguments()
    gpt = GPT()
    load(gpt)
    train(f"handwritten {name}", gpt, compiled, precision)
