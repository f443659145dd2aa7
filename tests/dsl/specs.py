"""Small whole specs to put settings into."""

from dskc.dsl import load
from dskc.dsl.diagnostics import Sink
from dskc.dsl.source import Source
from dskc.dsl.spec import Spec

IMAGES = """dsk 1
model m {
  width: 10
  forward(images: [B, 1, 8, 8], labels: int[B]) {
    loss cross_entropy(linear(global_average_pool(images), out: width), labels)
  }
}
data { source: digits() }
training { steps: 100 }
"""

TEXT = """dsk 1
model m {
  forward(tokens: int[B, S], targets: int[B, S]) {
    logits = linear(embedding(tokens, size: data.vocab, dim: 8), out: data.vocab)
    loss cross_entropy(logits, targets)
  }
}
training { steps: 100 }
"""


def settle(text: str, profile: str | None = None, *flags: str) -> tuple[Spec | None, Sink]:
    return load(Source("test.dsk", text), profile, flags)


def spec_of(text: str, profile: str | None = None, *flags: str) -> Spec:
    spec, sink = settle(text, profile, *flags)
    assert spec is not None, [d.message for d in sink]
    return spec


def codes_of(text: str, profile: str | None = None, *flags: str) -> list[str]:
    return [d.code for d in settle(text, profile, *flags)[1]]
