"""Names of Hugging Face checkpoints for the library's models: data that `huggingface` reads and writes by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Piece(NamedTuple):
    """One parameter here and the tensor there; `*` is the number of a layer.

    A `transposed` tensor has its two dimensions exchanged there; of one that holds `parts` equal parts along its
    outputs (the last dimension), this parameter is number `part`.
    """

    ours: str
    theirs: str
    transposed: bool = False
    part: int = 0
    parts: int = 1


class Family(NamedTuple):
    """A kind of checkpoint.

    `pieces` in our order; those that the model does not have (biases, norms of queries) are left out. `prefix` may be
    absent from all names there; `skipped` are endings of tensors that hold nothing trained; `tied` is the output matrix
    that tied checkpoints may repeat; `absent` are the values of settings that a config.json leaves out.
    """

    pieces: tuple[Piece, ...]
    prefix: str
    skipped: tuple[str, ...]
    tied: str
    absent: Mapping[str, Any]


def _both(ours: str, theirs: str) -> tuple[Piece, Piece]:
    return Piece(f"{ours}.weight", f"{theirs}.weight"), Piece(f"{ours}.bias", f"{theirs}.bias")


def _conv1d(ours: str, theirs: str, part: int = 0, parts: int = 1) -> tuple[Piece, Piece]:
    """GPT-2 keeps its matrices as [inputs, outputs]."""
    return (
        Piece(f"{ours}.weight", f"{theirs}.weight", True, part, parts),
        Piece(f"{ours}.bias", f"{theirs}.bias", False, part, parts),
    )


LLAMA = Family(
    pieces=(
        Piece("embedding.weight", "model.embed_tokens.weight"),
        Piece("layers.*.attention_norm.weight", "model.layers.*.input_layernorm.weight"),
        *_both("layers.*.self_attention.query", "model.layers.*.self_attn.q_proj"),
        *_both("layers.*.self_attention.key", "model.layers.*.self_attn.k_proj"),
        *_both("layers.*.self_attention.value", "model.layers.*.self_attn.v_proj"),
        Piece("layers.*.self_attention.query_norm.weight", "model.layers.*.self_attn.q_norm.weight"),
        Piece("layers.*.self_attention.key_norm.weight", "model.layers.*.self_attn.k_norm.weight"),
        *_both("layers.*.self_attention.output", "model.layers.*.self_attn.o_proj"),
        Piece("layers.*.feed_forward_norm.weight", "model.layers.*.post_attention_layernorm.weight"),
        *_both("layers.*.swiglu.gate", "model.layers.*.mlp.gate_proj"),
        *_both("layers.*.swiglu.up", "model.layers.*.mlp.up_proj"),
        *_both("layers.*.swiglu.down", "model.layers.*.mlp.down_proj"),
        Piece("norm.weight", "model.norm.weight"),
        Piece("head.weight", "lm_head.weight"),
    ),
    prefix="",
    skipped=(".rotary_emb.inv_freq",),
    tied="lm_head.weight",
    absent={
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "rope_type": "default",
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
        "use_sliding_window": False,
    },
)

GPT2 = Family(
    pieces=(
        Piece("word_embedding.weight", "transformer.wte.weight"),
        Piece("position_embedding.weight", "transformer.wpe.weight"),
        *_both("layers.*.attention_norm", "transformer.h.*.ln_1"),
        *_conv1d("layers.*.self_attention.query", "transformer.h.*.attn.c_attn", 0, 3),
        *_conv1d("layers.*.self_attention.key", "transformer.h.*.attn.c_attn", 1, 3),
        *_conv1d("layers.*.self_attention.value", "transformer.h.*.attn.c_attn", 2, 3),
        *_conv1d("layers.*.self_attention.output", "transformer.h.*.attn.c_proj"),
        *_both("layers.*.feed_forward_norm", "transformer.h.*.ln_2"),
        *_conv1d("layers.*.mlp.up", "transformer.h.*.mlp.c_fc"),
        *_conv1d("layers.*.mlp.down", "transformer.h.*.mlp.c_proj"),
        *_both("norm", "transformer.ln_f"),
    ),
    prefix="transformer.",
    skipped=(".attn.bias", ".attn.masked_bias"),
    tied="lm_head.weight",
    absent={
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "n_inner": None,
        "tie_word_embeddings": True,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
    },
)

FAMILIES: Mapping[str, Family] = {"llama": LLAMA, "qwen2": LLAMA, "qwen3": LLAMA, "gpt2": GPT2}
"""By the `model_type` of config.json."""
