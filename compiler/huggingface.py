"""A Hugging Face config.json as a spec: every key is translated, known to change nothing, or reported by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """How the keys of one `model_type` are read.

    `argument` gives the argument of the library's block for a key; `required` are keys that a config must have;
    `fixed` are keys with the only values that the block computes; `training` are rates of dropout.
    """

    block: str
    argument: Mapping[str, str]
    required: tuple[str, ...]
    fixed: Mapping[str, tuple[Any, ...]]
    training: tuple[str, ...] = ()
    always: str = ""
    neutral: tuple[str, ...] = ()


NEUTRAL: Final = (
    "model_type", "architectures", "_name_or_path", "name_or_path", "_attn_implementation_autoset", "auto_map",
    "transformers_version", "torch_dtype", "dtype", "use_cache", "initializer_range", "bos_token_id", "eos_token_id",
    "pad_token_id", "sep_token_id", "unk_token_id", "decoder_start_token_id", "max_position_embeddings",
    "pretraining_tp", "task_specific_params", "output_attentions", "output_hidden_states", "return_dict", "id2label",
    "label2id", "num_labels", "chunk_size_feed_forward", "gradient_checkpointing", "problem_type", "finetuning_task",
    "max_length", "min_length", "do_sample", "temperature", "top_k", "top_p", "num_beams", "tokenizer_class",
    "prefix", "use_bfloat16", "base_model_tp_plan", "base_model_pp_plan",
)  # fmt: skip
"""What changes nothing that the model computes."""

_SIZES: Final = {
    "vocab_size": "vocab",
    "hidden_size": "dim",
    "num_hidden_layers": "depth",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "intermediate_size": "hidden",
    "head_dim": "head_dim",
    "rope_theta": "rope",
    "rms_norm_eps": "eps",
    "tie_word_embeddings": "tied",
}
_NEEDED: Final = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_PLAIN: Final[Mapping[str, tuple[Any, ...]]] = {
    "hidden_act": ("silu",),
    "rope_type": ("default",),
    "partial_rotary_factor": (1, None),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "quantization_config": (None,),
    "attention_dropout": (0,),
}
_WINDOW: Final = {**_PLAIN, "use_sliding_window": (False,)}
_WINDOW_NEUTRAL: Final = ("sliding_window", "max_window_layers")  # read only with use_sliding_window

FAMILIES: Final[Mapping[str, Family]] = {
    "llama": Family("llama", {**_SIZES, "attention_bias": "bias", "mlp_bias": "feed_forward_bias"}, _NEEDED, _PLAIN),
    "qwen2": Family(
        "llama", _SIZES, _NEEDED, _WINDOW, always="bias: true, output_bias: false", neutral=_WINDOW_NEUTRAL
    ),
    "qwen3": Family(
        "llama", {**_SIZES, "attention_bias": "bias"}, _NEEDED, _WINDOW, always="qk_norm: true", neutral=_WINDOW_NEUTRAL
    ),
    "gpt2": Family(
        "gpt2",
        {
            "vocab_size": "vocab",
            "n_embd": "dim",
            "n_layer": "depth",
            "n_head": "heads",
            "n_inner": "hidden",
            "n_positions": "length",
            "layer_norm_epsilon": "eps",
        },
        ("vocab_size", "n_embd", "n_layer", "n_head"),
        {
            "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
            "tie_word_embeddings": (True,),
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "reorder_and_upcast_attn": (False,),
            "is_encoder_decoder": (False,),
            "add_cross_attention": (False,),
            "quantization_config": (None,),
        },
        training=("resid_pdrop", "embd_pdrop", "attn_pdrop"),
        neutral=(
            "n_ctx",
            "summary_activation",
            "summary_first_dropout",
            "summary_proj_to_labels",
            "summary_type",
            "summary_use_proj",
        ),
    ),
}
ABSENT: Final[Mapping[str, Mapping[str, Any]]] = {
    "llama": {"rms_norm_eps": 1e-6, "rope_theta": 10_000.0},
    "qwen2": {"rms_norm_eps": 1e-6, "rope_theta": 10_000.0},
    "qwen3": {"rms_norm_eps": 1e-6, "rope_theta": 10_000.0, "head_dim": 128},
    "gpt2": {
        "n_positions": 1_024,
        "layer_norm_epsilon": 1e-5,
        "resid_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.1,
    },
}
"""Values of keys that a config.json leaves out, where the block's own default differs or may."""


@dataclass(frozen=True)
class Translation:
    """Arguments of the library's block, the longest sequence, and what could not be translated."""

    block: str
    vocab: int
    arguments: tuple[str, ...]
    length: int
    faults: tuple[str, ...]


def translate(config: Config) -> Translation:
    """Reads a config; `faults` names every key that the spec could not say."""
    kind = config.get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        return Translation("", 0, (), 0, (f"model_type {kind!r} is not one of {', '.join(FAMILIES)}",))
    faults: list[str] = []
    settings = {**ABSENT[str(kind)], **_flat(config, faults)}
    faults += [f"{key} is missing" for key in family.required if key not in settings]
    arguments = _arguments(family, settings, faults)
    arguments |= _dropout(family, settings, faults)
    _check_rest(family, settings, faults)
    return Translation(
        family.block, int(arguments.pop("vocab", 0)), _texts(arguments, family), _length(settings), tuple(faults)
    )


def _flat(config: Config, faults: list[str]) -> dict[str, Any]:
    """The settings, with those of rope beside the others."""
    settings = {key: value for key, value in config.items() if key not in ("rope_parameters", "rope_scaling")}
    for key in ("rope_parameters", "rope_scaling"):
        rope = config.get(key)
        if isinstance(rope, Mapping):
            scaling = {name: value for name, value in rope.items() if name not in ("rope_theta", "type", "rope_type")}
            settings |= {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
            kind = rope.get("rope_type", rope.get("type", "default"))
            settings["rope_type"] = kind
            faults += [
                f"{key}.{name}: {value!r} cannot be said" for name, value in scaling.items() if kind == "default"
            ]
        elif rope is not None:
            faults.append(f"{key}: {rope!r} cannot be said")
    return settings


def _arguments(family: Family, settings: Config, faults: list[str]) -> dict[str, Any]:
    found = {}
    for key, argument in family.argument.items():
        value = settings.get(key)
        if value is None:
            continue
        check = KINDS.get(argument, _whole)
        if check(value):
            found[argument] = value
        else:
            faults.append(f"{key}: {value!r} is not a value that it can have")
    return found


def _whole(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**31


def _number(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < 1e15


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


KINDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "rope": _number, "eps": _number, "tied": _truth, "bias": _truth, "feed_forward_bias": _truth,
}  # fmt: skip


def _dropout(family: Family, settings: Config, faults: list[str]) -> dict[str, Any]:
    rates = {key: settings.get(key, 0) for key in family.training}
    values = set(rates.values())
    if not values or values == {0}:
        return {}
    if len(values) > 1:
        said = ", ".join(f"{key} {value!r}" for key, value in rates.items())
        faults.append(f"{said}: `{family.block}` has one rate of dropout")
        return {}
    (rate,) = values
    if type(rate) is not float or not 0 < rate < 1:
        faults.append(f"{family.training[0]}: {rate!r} is not a rate of dropout")
        return {}
    return {"dropout": rate}


def _check_rest(family: Family, settings: Config, faults: list[str]) -> None:
    known = {*NEUTRAL, *family.neutral, *family.argument, *family.training}
    for key, value in settings.items():
        if key in family.fixed:
            allowed = family.fixed[key]
            if value not in allowed:
                faults.append(f"{key}: {value!r} cannot be said; `{family.block}` computes {key} {allowed[0]!r}")
        elif key == "layer_types":
            if not isinstance(value, list) or set(map(str, value)) != {"full_attention"}:
                faults.append(f"{key}: {value!r} cannot be said; all layers attend to everything before")
        elif key not in known:
            faults.append(f"{key}: {value!r} is not known to change nothing")


def _texts(arguments: Mapping[str, Any], family: Family) -> tuple[str, ...]:
    texts = [f"{name}: {_text(value)}" for name, value in arguments.items()]
    return (*texts, *([family.always] if family.always else []))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{value:_}" if isinstance(value, int) and value >= 10_000 else repr(value)


def _length(settings: Config) -> int:
    length = settings.get("n_positions", settings.get("max_position_embeddings"))
    return min(length, 1_024) if _whole(length) else 1_024


SPEC: Final = """\
# {title}
# The numbers of training are a start: set them for your run.

dsk 1

import std.{block}

model network {{
{weights}  forward(tokens: int[B, S], targets: int[B, S]) {{
    logits = {block}(tokens, vocab: data.vocab, {arguments})
    loss cross_entropy(logits, targets)
  }}
}}

data {{
{data}
  vocab: {vocab}
  sequence: {length}
}}

training {{
  steps: 1_000
  micro_batch_size: 1
  gradient_accumulation: 16
}}

optimizer adamw {{
  lr: 1e-5
  betas: (0.9, 0.95)
  weight_decay: 0.1
  clip: norm(1.0)
}}

schedule {{
  warmup: 5%
  decay: cosine(floor: 10%)
}}

precision {{
  compute: bf16
  master: fp32
}}
"""


def spec_text(found: Translation, title: str, weights: str | None, tokenizer: str | None) -> str:
    """A spec of the model; `weights` is the folder of its checkpoint, `tokenizer` the path of its tokenizer.json."""
    if tokenizer is None:
        data = '  source: tokens("data/*.bin")  # your tokens, in the numbers of this vocabulary'
    else:
        data = f'  source: text("data/**/*.txt")  # your texts\n  tokenizer: file({quoted(tokenizer)})'
    return SPEC.format(
        title=title,
        block=found.block,
        weights=f"  weights: hf({quoted(weights)})\n\n" if weights is not None else "",
        arguments=", ".join(found.arguments),
        data=data,
        vocab=_text(found.vocab),
        length=_text(found.length),
    )


def quoted(text: str) -> str:
    """A string of the language."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\t", "\\t") + '"'
