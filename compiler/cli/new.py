"""`dskc new`: a small spec to start from."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import Subparsers, add_command

EPILOG = """\
examples:
  dskc new gpt.dsk      then: dskc run gpt.dsk"""

STARTER = """\
# A small GPT that learns from text; `dskc explain SECTION` lists what each section can say.

dsk 1

model gpt {
  dim: 256
  depth: 6

  block layer(x: [B, S, dim]) {
    h = x + self_attention(rms_norm(x) as attention_norm, heads: 8, rope: 10_000, causal: true)
    return h + swiglu(rms_norm(h) as feed_forward_norm, hidden: 704)
  }

  forward(tokens: int[B, S], targets: int[B, S]) {
    x = embedding(tokens, size: data.vocab, dim: dim)
    repeat depth as layers { x = layer(x) }
    logits = linear(rms_norm(x), out: data.vocab)
    loss cross_entropy(logits, targets)
  }
}

data {
  # The Python standard library's own source; put your files here: text("data/**/*.txt")
  source: text("{stdlib}/**/*.py")
  tokenizer: bpe(vocab: 2_048)
  sequence: 256
  validation: 2%
}

training {
  steps: 300
  micro_batch_size: 8
  seed: 1
  evaluate: every(100 steps)
}

optimizer adamw {
  lr: 1e-3
  weight_decay: 0.1
  clip: norm(1.0)
}

schedule {
  warmup: 5%
  decay: cosine(floor: 10%)
}

precision {
  compute: bf16
  master: fp32
}

checkpoint {
  every: 100 steps
  keep: 2
}
"""


def add(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    command = add_command(subparsers, "new", EPILOG)
    command.add_argument("file", metavar="FILE", help="where to write it; - prints it; a file that exists is kept")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the starter spec."""
    if args.file == "-":
        sys.stdout.write(STARTER)
        return 0
    try:
        with Path(args.file).open("x", encoding="utf-8", newline="\n") as file:
            file.write(STARTER)
    except FileExistsError:
        print(f"dskc: {args.file} exists; nothing was written", file=sys.stderr)
        return 2
    except (OSError, ValueError) as error:
        print(f"dskc: cannot write {args.file}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 2
    print(f"wrote {args.file}; now: dskc check {args.file}")
    return 0
