"""Checkpoints of transformers give the same logits here, and what is trained here gives the same logits there."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import tokenizers
import torch
import transformers
from torch import Tensor

from dskc.compiler.cli import main
from dskc.runtime import huggingface
from dskc.runtime.errors import RunError
from dskc.runtime.tokenizer import Subwords

from .checkpoints import CONFIGS, checkpoint, compiled, logits, module, network

EXPORT = 'export.huggingface="hf"'


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(3))


def imported(tmp_path: Path, name: str, **options: Any) -> tuple[torch.nn.Module, Path]:
    """A checkpoint, and the program of its imported spec."""
    theirs = checkpoint(name, tmp_path / "theirs", **options)
    spec = tmp_path / "imported.dsk"
    assert main(["import", str(tmp_path / "theirs/config.json"), "-o", str(spec)]) == 0
    assert main(["check", str(spec)]) == 0
    return theirs, compiled(tmp_path, spec, EXPORT)


@pytest.mark.parametrize("name", CONFIGS)
def test_same_logits_both_ways(name: str, tmp_path: Path, tokens: Tensor) -> None:
    theirs, program = imported(tmp_path, name)
    ours, config, label = network(program)
    huggingface.load(ours, tmp_path / "theirs", label, config)
    expected = logits(theirs, tokens)

    assert expected.std() > 0.1
    torch.testing.assert_close(ours(tokens).detach(), expected, rtol=1e-5, atol=1e-5)

    _train(ours, tokens)
    huggingface.save(ours, tmp_path / "back", label, config)
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back").eval()

    assert type(back) is type(theirs)
    trained = ours.eval()(tokens).detach()
    assert (trained - expected).abs().max() > 1e-2
    torch.testing.assert_close(logits(back, tokens), trained, rtol=1e-5, atol=1e-5)


def _train(model: torch.nn.Module, tokens: Tensor) -> None:
    updates = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(3):
        loss = model.objectives(tokens, tokens.roll(-1, 1))["loss"]  # type: ignore[operator]
        loss.backward()
        updates.step()
        updates.zero_grad()


def test_a_sharded_checkpoint_equals_one_file(tmp_path: Path, tokens: Tensor) -> None:
    theirs, program = imported(tmp_path, "llama", max_shard_size="20KB")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1
    ours, config, label = network(program)

    huggingface.load(ours, tmp_path / "theirs", label, config)

    torch.testing.assert_close(ours(tokens).detach(), logits(theirs, tokens), rtol=1e-5, atol=1e-5)


def test_names_without_the_prefix_and_buffers_are_known(tmp_path: Path, tokens: Tensor) -> None:
    theirs, program = imported(tmp_path, "gpt2")
    file = tmp_path / "theirs/model.safetensors"
    tensors = {name.removeprefix("transformer."): t for name, t in safetensors.torch.load_file(file).items()}
    tensors["h.0.attn.bias"] = torch.ones(1, 1, 64, 64)
    safetensors.torch.save_file(tensors, file, {"format": "pt"})
    ours, config, label = network(program)

    huggingface.load(ours, tmp_path / "theirs", label, config)

    torch.testing.assert_close(ours(tokens).detach(), logits(theirs, tokens), rtol=1e-5, atol=1e-5)


def _without(tensors: dict[str, Tensor]) -> None:
    del tensors["model.norm.weight"]


def _with_more(tensors: dict[str, Tensor]) -> None:
    tensors["model.extra.weight"] = torch.ones(3)


def _narrower(tensors: dict[str, Tensor]) -> None:
    tensors["model.norm.weight"] = torch.ones(31)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without, r"lacks model\.norm\.weight"),
        (_with_more, r"holds model\.extra\.weight, which the spec's model does not have"),
        (_narrower, r"model\.norm\.weight is \[31\], but the model needs \[32\]"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    _, program = imported(tmp_path, "llama")
    file = tmp_path / "theirs/model.safetensors"
    tensors = safetensors.torch.load_file(file)
    change(tensors)
    safetensors.torch.save_file(tensors, file)
    ours, config, label = network(program)
    before = [parameter.clone() for parameter in ours.parameters()]

    with pytest.raises(RunError, match=message):
        huggingface.load(ours, tmp_path / "theirs", label, config)

    assert all(torch.equal(a, b) for a, b in zip(before, ours.parameters(), strict=True))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("rms_norm_eps", 1e-5, r"rms_norm_eps: 1e-05 in config\.json, 0\.0001 in the spec"),
        ("num_attention_heads", 8, r"num_attention_heads: 8 in config\.json, 4 in the spec"),
        ("hidden_act", "gelu", r"hidden_act: 'gelu' in config\.json, 'silu' in the spec"),
        ("rope_parameters", {"rope_type": "default", "rope_theta": 5e5}, r"rope_theta: 500000\.0 .*, 10000\.0 in the"),
        ("rope_scaling", {"type": "linear", "factor": 2.0}, r"rope_type: 'linear' in config\.json, 'default'"),
        ("model_type", "mistral", r"model_type: 'mistral' in config\.json, 'llama' in the spec"),
    ],
)
def test_another_config_is_refused_with_both_values(key: str, value: Any, said: str, tmp_path: Path) -> None:
    _, program = imported(tmp_path, "llama")
    path = tmp_path / "theirs/config.json"
    content = json.loads(path.read_text())
    if key == "rope_scaling":
        del content["rope_parameters"]
    path.write_text(json.dumps({**content, key: value}))
    ours, config, label = network(program)

    with pytest.raises(RunError, match=said):
        huggingface.load(ours, tmp_path / "theirs", label, config)


def test_tied_weights_that_differ_are_refused(tmp_path: Path) -> None:
    _, program = imported(tmp_path, "llama_tied")
    file = tmp_path / "theirs/model.safetensors"
    tensors = safetensors.torch.load_file(file)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + 1
    safetensors.torch.save_file(tensors, file)
    ours, config, label = network(program)

    with pytest.raises(RunError, match=r"lm_head\.weight differs from model\.embed_tokens\.weight"):
        huggingface.load(ours, tmp_path / "theirs", label, config)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"pytorch_model.bin": b"x"}, "pickled weights.*save_pretrained"),
        ({}, "holds neither model.safetensors"),
        ({"model.safetensors": b"broken"}, "cannot be read"),
        ({"model.safetensors.index.json": b'{"weight_map": {"a": "../a.safetensors"}}'}, "no file of this folder"),
        ({"model.safetensors.index.json": b'{"weight_map": {"a": "a.safetensors"}}'}, "lacks a.safetensors"),
    ],
)
def test_other_files_are_refused(files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    _, program = imported(tmp_path, "llama")
    (tmp_path / "theirs/model.safetensors").unlink()
    for name, content in files.items():
        (tmp_path / "theirs" / name).write_bytes(content)
    ours, config, label = network(program)

    with pytest.raises(RunError, match=message):
        huggingface.load(ours, tmp_path / "theirs", label, config)


def test_the_tokenizer_goes_along(tmp_path: Path) -> None:
    _, program = imported(tmp_path, "gpt2")
    ours, config, label = network(program)
    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    inner.decoder = tokenizers.decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=257, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(["import os"], trainer=trainer)
    coder = Subwords(inner, 0)

    huggingface.save(ours, tmp_path / "back", label, config, coder)
    found = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")

    assert found.encode("import os, sys") == coder.encode(["import os, sys"])[0]
    assert found.eos_token_id == 0


def test_an_export_replaces_only_an_export(tmp_path: Path) -> None:
    _, program = imported(tmp_path, "gpt2")
    ours, config, label = network(program)
    huggingface.save(ours, tmp_path / "back", label, config)
    huggingface.save(ours, tmp_path / "back", label, config)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")

    with pytest.raises(RunError, match="something else than an earlier export"):
        huggingface.save(ours, tmp_path / "mine", label, config)

    assert (tmp_path / "mine/notes.txt").read_text() == "keep"
    assert not list(tmp_path.glob(".*.new"))


def test_a_model_that_transformers_does_not_have_is_refused(tmp_path: Path) -> None:
    _, program = imported(tmp_path, "gpt2")
    ours, config, label = network(program)
    ours.value = torch.nn.Linear(2, 2)

    with pytest.raises(RunError, match=r"has no place for value\.weight, value\.bias"):
        huggingface.save(ours, tmp_path / "back", label, config)


def test_a_run_starts_from_a_checkpoint_and_ends_with_an_export(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    checkpoint("llama", tmp_path / "theirs")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("a small text to learn from. " * 40)
    spec = tmp_path / "imported.dsk"
    assert main(["import", str(tmp_path / "theirs/config.json"), "-o", str(spec)]) == 0
    sets = [EXPORT, 'export.safetensors="w.safetensors"', "data.tokenizer=bytes", "data.sequence=16"]
    sets += [f'data.source=text("{tmp_path}/texts/*.txt")', "training.steps=2", "training.execution=eager"]
    sets += ["training.gradient_accumulation=1", "precision.compute=fp32", "optimizer.lr=1e-2"]
    program = compiled(tmp_path, spec, *sets)
    module(program, "model")
    train = module(program, "train")

    train.train(tmp_path / "run", None, torch.device("cpu"))

    weights = safetensors.torch.load_file(tmp_path / "run/w.safetensors")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "run/hf")
    start = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs")
    norm = back.model.norm.weight.detach()
    assert torch.equal(norm, weights["llama.norm.weight"])
    assert 0 < (norm - start.model.norm.weight).abs().max() < 0.1
