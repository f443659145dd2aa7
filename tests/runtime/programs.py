"""Hand-made programs of the form that the compiler writes: a small GPT on text and a small conv net on digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dskc.runtime import (
    arrays,
    augment,
    checkpoint,
    device,
    evaluate,
    generate,
    guard,
    initialize,
    optimizer,
    packing,
    record,
    schedule,
    sources,
    tokenizer,
)


class Layer(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm = nn.RMSNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.output = nn.Linear(dim, dim, bias=False)
        self.feed_forward_norm = nn.RMSNorm(dim)
        self.up = nn.Linear(dim, 4 * dim, bias=False)
        self.down = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x_BSD: Tensor) -> Tensor:
        qkv = self.qkv(self.attention_norm(x_BSD)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        h_BSD = x_BSD + F.dropout(self.output(attended), self.dropout, self.training)
        return h_BSD + self.down(F.gelu(self.up(self.feed_forward_norm(h_BSD))))


class Gpt(nn.Module):
    def __init__(self, vocab: int = 300, dim: int = 32, depth: int = 2, heads: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, dim)
        self.layers = nn.ModuleList(Layer(dim, heads, dropout) for _ in range(depth))
        self.rms_norm = nn.RMSNorm(dim)
        self.linear = nn.Linear(dim, vocab, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x_BSD = self.embedding(tokens)
        for layer in self.layers:
            x_BSD = layer(x_BSD)
        return self.linear(self.rms_norm(x_BSD))

    def objectives(self, tokens: Tensor, targets: Tensor) -> dict[str, Tensor]:
        logits_BSV = self(tokens)
        return {"loss": F.cross_entropy(logits_BSV.flatten(0, 1).float(), targets.flatten())}

    def initialize(self, seed: int) -> None:
        initialize.initialize(
            self,
            {
                "normal(0.02)": ("embedding.weight", "layers.*.qkv.weight", "layers.*.output.weight",
                                 "layers.*.up.weight", "layers.*.down.weight", "linear.weight"),
                "ones": ("layers.*_norm.weight", "rms_norm.weight"),
            },
            seed,
        )  # fmt: skip


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm_1 = nn.BatchNorm2d(16)
        self.conv_2 = nn.Conv2d(16, 32, 3, padding=1, stride=2, bias=False)
        self.norm_2 = nn.BatchNorm2d(32)
        self.linear = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.norm_1(self.conv_1(images)))
        x = F.relu(self.norm_2(self.conv_2(x)))
        return self.linear(x.mean(dim=(2, 3)))

    def objectives(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self(images)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        return {"loss": F.cross_entropy(logits.float(), labels), "accuracy": accuracy}

    def initialize(self, seed: int) -> None:
        table = {
            "kaiming": ("conv_*.weight",),
            "normal(0.1)": ("linear.weight",),
            "ones": ("norm_*.weight",),
            "zeros": ("norm_*.bias", "linear.bias"),
        }
        initialize.initialize(self, table, seed)


@dataclass
class Outcome:
    model: nn.Module
    losses: list[float]
    validation: dict[str, float]
    sample: str = ""


def train_gpt(corpus: str, run: Path, steps: int, stop: int | None = None, compute: str = "bf16") -> Outcome:
    """Trains up to `stop` of `steps` steps (all by default), going on from the run's newest checkpoint."""
    micro_batch, accumulation, sequence, seed, vocab = 4, 2, 32, 1_234, 300
    place = device.choose()
    documents = sources.text(corpus)
    training_documents, validation_documents = sources.split(documents, share=0.1, seed=seed)
    coder = tokenizer.train_bpe(training_documents, vocab=vocab)
    training = packing.pack(training_documents, coder, sequence, seed, place)
    validation = packing.pack(validation_documents, coder, sequence, seed, place)

    torch.manual_seed(seed)
    model = Gpt(vocab).to(place)
    model.initialize(seed)
    adamw = optimizer.adamw(model, lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)
    checkpoints = checkpoint.Checkpoints(run / "checkpoints", plan="gpt", keep=2)
    position = checkpoints.restore(model, adamw)

    def precision() -> torch.autocast:
        return torch.autocast(place.type, torch.bfloat16, enabled=compute == "bf16")

    losses: list[float] = []
    with record.Record(
        run, steps, micro_batch * accumulation * sequence, "tokens", start=position.step, title="gpt"
    ) as log:
        while position.step < (steps if stop is None else stop):
            rate = 1e-2 * schedule.cosine(position.step, steps, warmup=3, floor=0.1)
            optimizer.set_rate(adamw, rate)
            loss = torch.zeros((), device=place)
            for _ in range(accumulation):
                batch = training.batch(position.samples, micro_batch)
                position.samples += micro_batch
                with precision():
                    part = model.objectives(**batch)["loss"] / accumulation
                part.backward()
                loss += part.detach()
            norm = optimizer.clip_norm(model, 1.0)
            adamw.step()
            adamw.zero_grad()
            values = guard.finite(position.step + 1, loss=loss, gradient_norm=norm)
            position.step += 1
            losses.append(values["loss"])
            log.step(position.step, values["loss"], rate, values["gradient_norm"])
            if position.step % 10 == 0:
                checkpoints.save(model, adamw, position)
        with precision():
            values = evaluate.mean(model, model.objectives, validation.in_order(micro_batch))
        log.evaluation(position.step, values)
    ids = generate.tokens(model, [coder.end], 20, sequence, seed, vocab=coder.vocab)
    return Outcome(model, losses, values, coder.decode(ids))


def train_net(run: Path, epochs: int, size: int = 64) -> Outcome:
    """Trains on the digits for some epochs."""
    seed = 7
    place = device.choose()
    samples = arrays.digits(seed, place, augment.random(seed, shift=1, rotate=10))
    training, validation = samples.split(share=0.2, seed=seed)
    steps = epochs * len(training) // size
    torch.manual_seed(seed)
    model = Net().to(place)
    model.initialize(seed)
    adamw = optimizer.adamw(model, lr=1e-2, weight_decay=0.05)
    checkpoints = checkpoint.Checkpoints(run / "checkpoints", plan="net")
    position = checkpoints.restore(model, adamw)
    losses = []
    with record.Record(run, steps, size, "samples", start=position.step, title="digits") as log:
        while position.step < steps:
            rate = 1e-2 * schedule.cosine(position.step, steps, warmup=steps // 20, floor=0.01)
            optimizer.set_rate(adamw, rate)
            loss = model.objectives(**training.batch(position.samples, size))["loss"]
            position.samples += size
            loss.backward()
            norm = optimizer.clip_norm(model)
            adamw.step()
            adamw.zero_grad()
            values = guard.finite(position.step + 1, loss=loss, gradient_norm=norm)
            position.step += 1
            losses.append(values["loss"])
            log.step(position.step, values["loss"], rate, values["gradient_norm"])
        values = evaluate.mean(model, model.objectives, validation.in_order(size))
        log.evaluation(position.step, values)
        checkpoints.save(model, adamw, position)
    return Outcome(model, losses, values)
