"""What a Hugging Face config.json says of a model that was built with the library's `llama` or `gpt2`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ...dsl.diagnostics import Sink
from ...dsl.source import Span
from ...dsl.spec import Spec
from ..lower import lower
from ..node import Body, Node
from .text import literal, quoted
from .tree import Bodies


@dataclass(frozen=True)
class Checkpoint:
    """The part of the model that has a form in `transformers`: its label, and the settings of that form."""

    label: str
    config: dict[str, Any]


def checkpoint(spec: Spec, sink: Sink) -> Checkpoint | None:
    """The part that `model.weights` fills and `export.huggingface` writes; an error where there is not exactly one.

    A plan has the sizes of one rank; the files have those of the whole model, as it is before it is laid out.
    """
    wanted = [name for name in ("model.weights", "export.huggingface") if _set(spec, name)]
    if not wanted:
        return None
    lowered = lower(spec, Sink())
    assert lowered is not None, "the spec was lowered before"
    bodies = lowered.bodies
    found = [node for node in bodies["forward"].nodes if _library(bodies, node) and not node.share]
    place = spec.span(wanted[0]) or Span(spec.source, 0, 0)
    if len(found) == 1:
        return _checkpoint(bodies, found[0], spec.data.sequence, sink)
    how_many = "none" if not found else f"more: {len(found)}"
    message = f"`{wanted[0]}` needs one call of the library's `llama` or `gpt2` in `forward`; there is {how_many}"
    sink.error("E0536", message, place, "write `import std.llama` and `logits = llama(tokens, vocab: data.vocab, ...)`")
    return None


def _set(spec: Spec, name: str) -> bool:
    section, setting = name.split(".")
    return getattr(getattr(spec, section), setting) is not None


def _library(bodies: Bodies, node: Node) -> bool:
    body = bodies.get(node.body or "")
    return (
        body is not None
        and node.op == "call"
        and body.block in FAMILIES
        and body.span.source.name == f"std/{body.block}.dsk"
    )


def _checkpoint(bodies: Bodies, node: Node, sequence: int | None, sink: Sink) -> Checkpoint | None:
    body = bodies[str(node.body)]
    facts = _Facts(bodies, body)
    reason = _unfit(facts) if body.block == "llama" else None
    if reason is not None:
        sink.error("E0537", f"no model of `transformers` is a `llama` {reason}", node.span, "change its arguments")
        return None
    config = FAMILIES[body.block](facts)
    if sequence is not None and body.block == "llama":
        config["max_position_embeddings"] = sequence
    return Checkpoint(str(node.label), config)


@dataclass(frozen=True)
class _Facts:
    """Finds nodes of a body and of those that it runs."""

    bodies: Bodies
    top: Body

    def nodes(self, body: Body | None = None) -> Iterator[Node]:
        """All nodes, in program order."""
        for node in (body or self.top).nodes:
            yield node
            if node.body is not None:
                yield from self.nodes(self.bodies[node.body])

    def has(self, op: str) -> bool:
        """Whether any node is of an op."""
        return any(node.op == op for node in self.nodes())

    def op(self, name: str) -> Node:
        """The first node of an op."""
        return next(node for node in self.nodes() if node.op == name)

    def labelled(self, label: str) -> Node | None:
        """The first node with a label."""
        return next((node for node in self.nodes() if node.label == label), None)

    def size(self, label: str, dimension: int) -> int:
        """A size of the weight of a labelled node."""
        node = self.labelled(label)
        assert node is not None, label
        size = node.parameters[0].shape[dimension]
        assert isinstance(size, int)
        return size

    def biased(self, label: str) -> bool:
        """Whether a labelled linear layer has a bias."""
        node = self.labelled(label)
        return node is not None and any(parameter.name == "bias" for parameter in node.parameters)

    def heads(self) -> tuple[int, int, int]:
        """Heads of queries, heads of keys, size of a head."""
        attention = self.op("scaled_dot_product_attention")
        body = next(b for b in self.bodies.values() if attention in b.nodes)
        tensors = {node.name: node.outputs for node in body.nodes}
        query, key = (tensors[name][output].shape for name, output in attention.inputs[:2])
        counts = (query[1], key[1], query[3])
        assert all(isinstance(count, int) for count in counts)
        return counts  # type: ignore[return-value]


def _unfit(facts: _Facts) -> str | None:
    """What Llama, Qwen2 and Qwen3 cannot say of a `llama`."""
    bias, output_bias, normed = facts.biased("query"), facts.biased("output"), facts.labelled("query_norm") is not None
    if not facts.has("rope"):
        return "without `rope`"
    if output_bias and not bias:
        return "with `output_bias`, but without `bias`"
    if normed and bias != output_bias:
        return "with `qk_norm` and `bias`, but without `output_bias`"
    if facts.biased("gate") and (normed or bias != output_bias):
        return "with `feed_forward_bias` and " + ("`qk_norm`" if normed else "`bias`, but without `output_bias`")
    return None


def _llama(facts: _Facts) -> dict[str, Any]:
    heads, kv_heads, head_dim = facts.heads()
    bias, output_bias = facts.biased("query"), facts.biased("output")
    normed = facts.labelled("query_norm") is not None
    kind = "qwen3" if normed else "qwen2" if bias and not output_bias else "llama"
    config = {
        "model_type": kind,
        "architectures": (f"{kind.capitalize()}ForCausalLM",),
        "vocab_size": facts.size("embedding", 0),
        "hidden_size": facts.size("embedding", 1),
        "intermediate_size": facts.size("gate", 0),
        "num_hidden_layers": facts.op("repeat").count,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": float(facts.op("rms_norm").attrs["eps"]),
        "rope_theta": float(facts.op("rope").attrs["theta"]),
        "rope_type": "default",
        "tie_word_embeddings": facts.labelled("head") is None,
    }
    if kind == "llama":
        config |= {"attention_bias": bias, "mlp_bias": facts.biased("gate")}
    else:
        config |= {"use_sliding_window": False}
        config |= {"attention_bias": bias} if kind == "qwen3" else {}
    return config


def _gpt2(facts: _Facts) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "architectures": ("GPT2LMHeadModel",),
        "vocab_size": facts.size("word_embedding", 0),
        "n_embd": facts.size("word_embedding", 1),
        "n_positions": facts.size("position_embedding", 0),
        "n_layer": facts.op("repeat").count,
        "n_head": facts.heads()[0],
        "n_inner": facts.size("up", 0),
        "layer_norm_epsilon": float(facts.op("layer_norm").attrs["eps"]),
        "activation_function": "gelu_new",
        "tie_word_embeddings": True,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
    }


def constant(config: dict[str, Any]) -> list[str]:
    """Lines of the constant that holds the settings."""
    rows = [f"    {quoted(key)}: {literal(value)}," for key, value in config.items()]
    return ["CONFIG = {  # the model in the words of transformers' config.json", *rows, "}"]


FAMILIES: Final[dict[str, Callable[[_Facts], dict[str, Any]]]] = {"llama": _llama, "gpt2": _gpt2}
"""By the name of the block, which stands in the library file of that name."""
