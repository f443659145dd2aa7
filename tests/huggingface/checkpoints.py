"""Small random checkpoints made by `transformers`, and the program compiled for each."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from dskc.compiler.cli import main

SIZES: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
GPT2: dict[str, Any] = {"vocab_size": 256, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
GPT2 |= {"bos_token_id": 0, "eos_token_id": 0}
CONFIGS: dict[str, Any] = {
    "llama": lambda: transformers.LlamaConfig(**SIZES, rms_norm_eps=1e-4),
    "llama_tied": lambda: transformers.LlamaConfig(**SIZES, tie_word_embeddings=True),
    "llama_biased": lambda: transformers.LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "llama_theta": lambda: transformers.LlamaConfig(
        **SIZES, rope_parameters={"rope_type": "default", "rope_theta": 77_000.0}
    ),
    "qwen2": lambda: transformers.Qwen2Config(**SIZES),
    "qwen2_tied": lambda: transformers.Qwen2Config(**SIZES, tie_word_embeddings=True),
    "qwen3": lambda: transformers.Qwen3Config(**SIZES, head_dim=16),
    "qwen3_biased": lambda: transformers.Qwen3Config(**SIZES, head_dim=16, attention_bias=True),
    "gpt2": lambda: transformers.GPT2Config(**GPT2),
    "gpt2_inner": lambda: transformers.GPT2Config(
        **GPT2, n_inner=40, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, layer_norm_epsilon=1e-3
    ),
}


def checkpoint(name: str, folder: Path, **options: Any) -> nn.Module:
    """A random model, saved; all of its parameters differ from their usual start values."""
    torch.manual_seed(0)
    model: nn.Module = transformers.AutoModelForCausalLM.from_config(CONFIGS[name]()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder, **options)  # type: ignore[operator]
    return model


def logits(model: nn.Module, tokens: Tensor) -> Tensor:
    """Of one of transformers' models."""
    with torch.no_grad():
        found: Tensor = model(tokens).logits
    return found


def compiled(folder: Path, spec: Path, *overrides: str) -> Path:
    """The program's folder."""
    program = folder / "program"
    sets = [part for override in overrides for part in ("--set", override)]
    assert main(["compile", str(spec), "-o", str(program), *sets]) == 0
    return program


def module(program: Path, name: str) -> ModuleType:
    """`model.py` or `train.py` of a program."""
    sys.modules.pop(name, None)
    specification = importlib.util.spec_from_file_location(name, program / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    found = importlib.util.module_from_spec(specification)
    sys.modules[name] = found
    specification.loader.exec_module(found)
    return found


def network(program: Path) -> tuple[nn.Module, dict[str, Any], str]:
    """The model with its start values, what transformers calls it, and the label of its library block."""
    model: nn.Module = module(program, "model").Network()
    train = module(program, "train")
    model.initialize(1)  # type: ignore[operator]
    return model.eval(), train.CONFIG, "gpt2" if train.CONFIG["model_type"] == "gpt2" else "llama"
