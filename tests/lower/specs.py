"""What the tests of the lowering share: a small spec around a model, and its lowering."""

from dskc.compiler.lower import Lowered, lower
from dskc.compiler.node import Node
from dskc.dsl import load
from dskc.dsl.diagnostics import Sink
from dskc.dsl.source import Source

SETTINGS = """
data {
  source: random()
  vocab: 64
  sequence: 16
}

training {
  steps: 1
  micro_batch_size: 2
}
"""


def spec_text(forward: str, blocks: str = "", inputs: str = "tokens: int[B, S], targets: int[B, S]") -> str:
    """A spec whose model has the constant `dim`, and `x` [B, S, 32] and the loss of `x` around the given lines."""
    return f"""dsk 1

model small {{
  dim: 32
  {blocks}
  forward({inputs}) {{
    x = embedding(tokens, size: data.vocab, dim: dim)
    {forward}
    loss cross_entropy(linear(x, out: data.vocab) as head, targets)
  }}
}}
{SETTINGS}"""


def lowered_with(text: str, name: str = "small.dsk") -> tuple[Lowered | None, Sink]:
    """The lowering of a text and all that is said of it."""
    spec, sink = load(Source(name, text))
    return (lower(spec, sink) if spec is not None and not sink.failed else None), sink


def lowered(text: str) -> Lowered:
    """The lowering of a text without errors or warnings."""
    result, sink = lowered_with(text)
    assert [(d.code, d.message) for d in sink] == []
    assert result is not None
    return result


def node(model: Lowered, name: str, body: str = "forward") -> Node:
    """A node of a body by its name."""
    return next(n for n in model.bodies[body].nodes if n.name == name)
