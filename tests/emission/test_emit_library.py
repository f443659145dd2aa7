"""Models of the library as they are emitted, with the weights of `transformers` models: equal outputs."""

from __future__ import annotations

import re
from pathlib import Path

import torch
import transformers
from torch import Tensor, nn

from dskc.dsl.source import Source

from .compiled import compile_source, example, load_model

SPEC = """dsk 1
import std.{}
model m {{
  forward({}) {{ loss cross_entropy({}, {}) }}
}}
data {{ source: random(), {} }}
training {{ steps: 1 }}
optimizer sgd {{ lr: 0.1 }}
"""
Rules = tuple[tuple[str, str], ...]
PICTURE, WORDS = "images: [B, 3, {0}, {0}], labels: int[B]", "tokens: int[B, S], targets: int[B, S]"
SIZES = {"labels": "classes: 7", "targets": "vocab: 50, sequence: 12"}


def emitted(library: str, inputs: str, call: str, targets: str, folder: Path) -> nn.Module:
    source = Source("s.dsk", SPEC.format(library, inputs, call, targets, SIZES[targets]))
    model: nn.Module = load_model(compile_source(source), folder).M()
    return model.eval()


def perturbed(model: nn.Module) -> nn.Module:
    """Biases start at 0 and norms at 1: here no value is one that a mistake could leave out."""
    generator = torch.Generator().manual_seed(1)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value += 0.1 * torch.randn(value.shape, generator=generator)
            if name.endswith("running_var"):
                value.abs_().add_(0.5)
    return model.eval()


def give(theirs: nn.Module, ours: nn.Module, rules: Rules, own: tuple[str, ...] = ()) -> None:
    """Their weights under our names; all of ours but those that begin with one of `own`."""
    found = {}
    for name, value in theirs.state_dict().items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        found[name] = value
    wanted = ours.state_dict()
    missing = [n for n in wanted if n not in found and not n.startswith(own) and not n.endswith("num_batches_tracked")]
    assert missing == []
    ours.load_state_dict(wanted | {name: found[name].view_as(wanted[name]) for name in wanted if name in found})


def check(ours: nn.Module, theirs: nn.Module, inputs: Tensor) -> None:
    torch.testing.assert_close(ours(inputs), theirs(inputs).logits, rtol=1e-5, atol=1e-5)


DEEPSEEK: Rules = (
    (r"^model\.embed_tokens", "embedding"),
    (r"^model\.norm", "norm"),
    (r"^lm_head", "head"),
    (r"^model\.layers\.0\.", "dense.0."),
    *((rf"^model\.layers\.{layer}\.", f"experts.{layer - 1}.") for layer in (1, 2, 3)),
    (r"self_attn\.q_a_proj", "latent_attention.query_down"),
    (r"self_attn\.q_a_layernorm", "latent_attention.query_norm"),
    (r"self_attn\.q_b_proj", "latent_attention.query_up"),
    (r"self_attn\.kv_a_proj_with_mqa", "latent_attention.latent_down"),
    (r"self_attn\.kv_a_layernorm", "latent_attention.latent_norm"),
    (r"self_attn\.kv_b_proj", "latent_attention.latent_up"),
    (r"self_attn\.o_proj", "latent_attention.output"),
    (r"input_layernorm", "attention_norm"),
    (r"post_attention_layernorm", "feed_forward_norm"),
    (r"dense\.0\.mlp\.(\w+)_proj", r"dense.0.swiglu.\1"),
    (r"mlp\.shared_experts\.(\w+)_proj", r"mixture_of_experts.shared_expert.\1"),
    (r"mlp\.gate\.e_score_correction_bias", "mixture_of_experts.router.bias"),
    (r"mlp\.gate\.weight", "mixture_of_experts.router.weight"),
    (r"mlp\.experts\.down_proj", "mixture_of_experts.down.weight"),
)


def test_deepseek(tmp_path: Path) -> None:
    tiny = ("data.tokenizer=bpe(vocab: 300)", "model.dim=64", "precision.compute=fp32", "data.sequence=16")
    ours = load_model(compile_source(example("deepseek_small"), *tiny), tmp_path).Deepseek().eval()
    ours.initialize(0)
    torch.manual_seed(0)
    config = transformers.DeepseekV3Config(
        vocab_size=300, hidden_size=64, intermediate_size=512, moe_intermediate_size=128, num_hidden_layers=4,
        num_attention_heads=6, num_key_value_heads=6, n_shared_experts=1, n_routed_experts=16, n_group=4,
        topk_group=2, num_experts_per_tok=4, routed_scaling_factor=1.0, kv_lora_rank=64, q_lora_rank=96,
        qk_rope_head_dim=16, v_head_dim=32, qk_nope_head_dim=32, first_k_dense_replace=1, rope_interleave=False,
    )  # fmt: skip
    theirs = perturbed(transformers.DeepseekV3ForCausalLM(config))
    gates = ("gate.weight", "up.weight")

    packed_in_theirs = tuple(f"experts.{index}.mixture_of_experts.{gate}" for index in range(3) for gate in gates)
    give(theirs, ours, DEEPSEEK, ("join_next", "prediction", *packed_in_theirs))
    with torch.no_grad():
        for index in range(3):
            packed = theirs.state_dict()[f"model.layers.{index + 1}.mlp.experts.gate_up_proj"]
            for gate, half in zip(gates, packed.chunk(2, dim=1), strict=True):
                ours.state_dict()[f"experts.{index}.mixture_of_experts.{gate}"].copy_(half)

    check(ours, theirs, torch.randint(0, 300, (2, 16)))


def test_vit(tmp_path: Path) -> None:
    call = "vit(images, classes: data.classes, patch: 4, dim: 24, depth: 2, heads: 3)"
    ours = emitted("vision", PICTURE.format(8), call, "labels", tmp_path)
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, image_size=8, patch_size=4,
        num_labels=7, layer_norm_eps=1e-6,
    )  # fmt: skip
    theirs = perturbed(transformers.ViTForImageClassification(config))

    give(theirs, ours, (
        (r"^vit\.embeddings\.cls_token", "vit.encoder.class_token.weight"),
        (r"^vit\.embeddings\.position_embeddings", "vit.encoder.positions.weight"),
        (r"^vit\.embeddings\.patch_embeddings\.projection", "vit.encoder.patch_embedding"),
        (r"^vit\.(layers|layernorm)", r"vit.encoder.\1"),
        (r"attention\.(\w)_proj", r"self_attention.\1_"),
        *((f"{name[0]}_\\.", f"{name}.") for name in ("query", "key", "value", "output")),
        (r"layernorm_before", "attention_norm"),
        (r"layernorm_after", "feed_forward_norm"),
        (r"encoder\.layernorm", "encoder.layer_norm"),
        (r"fc1", "up"),
        (r"fc2", "down"),
        (r"^classifier", "vit.head"),
    ))  # fmt: skip
    check(ours, theirs, torch.randn(2, 3, 8, 8))


def test_bert(tmp_path: Path) -> None:
    call = "bert(tokens, vocab: data.vocab, dim: 24, depth: 2, heads: 3, length: 16)"
    ours = emitted("bert", WORDS, call, "targets", tmp_path)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96,
        max_position_embeddings=16,
    )  # fmt: skip
    theirs = perturbed(transformers.BertForMaskedLM(config))
    nn.init.zeros_(theirs.bert.embeddings.token_type_embeddings.weight)

    give(theirs, ours, (
        (r"^bert\.embeddings\.(word|position)_embeddings", r"bert.encoder.\1_embedding"),
        (r"^bert\.embeddings\.LayerNorm", "bert.encoder.embedding_norm"),
        (r"^bert\.encoder\.layer\.", "bert.encoder.layers."),
        (r"attention\.self\.", "self_attention."),
        (r"attention\.output\.dense", "self_attention.output"),
        (r"attention\.output\.LayerNorm", "attention_norm"),
        (r"intermediate\.dense", "mlp.up"),
        (r"(layers\.\d)\.output\.dense", r"\1.mlp.down"),
        (r"(layers\.\d)\.output\.LayerNorm", r"\1.feed_forward_norm"),
        (r"cls\.predictions\.transform\.dense", "bert.transform"),
        (r"cls\.predictions\.transform\.LayerNorm", "bert.transform_norm"),
        (r"cls\.predictions\.decoder", "bert.linear"),
    ))  # fmt: skip
    check(ours, theirs, torch.randint(0, 50, (2, 12)))


def test_resnet50(tmp_path: Path) -> None:
    ours = emitted("vision", PICTURE.format(48), "resnet50(images, classes: data.classes)", "labels", tmp_path)
    theirs = transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=7)).eval()
    generator = torch.Generator().manual_seed(1)
    for name, value in theirs.state_dict().items():
        if "normalization" in name and value.is_floating_point():
            value += 0.1 * torch.rand(value.shape, generator=generator)

    give(theirs, ours, (
        (r"^resnet\.embedder\.embedder\.convolution", "resnet50.stem"),
        (r"^resnet\.embedder\.embedder\.normalization", "resnet50.stem_norm"),
        *((rf"encoder\.stages\.{k}\.layers\.0\.", f"stage{k + 1}_first.") for k in range(4)),
        *((rf"encoder\.stages\.{k}\.layers\.{i}\.", f"stage{k + 1}.{i - 1}.") for k in range(4) for i in range(1, 6)),
        *((rf"layer\.{i}\.convolution", f"convolution_{i + 1}") for i in range(3)),
        *((rf"layer\.{i}\.normalization", f"norm_{i + 1}") for i in range(3)),
        (r"shortcut\.convolution", "shortcut"),
        (r"shortcut\.normalization", "shortcut_norm"),
        (r"^resnet\.", "resnet50."),
        (r"^classifier\.1", "resnet50.head"),
    ))  # fmt: skip
    check(ours, theirs, torch.randn(2, 3, 48, 48))
