"""`dskc import`: every key is translated, known to change nothing, or an error with its name."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dskc.compiler.cli import main
from dskc.compiler.huggingface import FAMILIES, NEUTRAL, quoted

from .checkpoints import CONFIGS, compiled

ROOT = Path(__file__).parents[2]


def config(name: str, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {**CONFIGS[name]().to_diff_dict(), **CONFIGS[name]().to_dict(), **changes}
    return found


def write(folder: Path, content: Any) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / "config.json"
    path.write_text(json.dumps(content, default=str))
    return str(path)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_key_that_transformers_writes_is_known(name: str, tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path, config(name))

    assert main(["import", path]) == 0

    text = capsys.readouterr().out
    (tmp_path / "x.dsk").write_text(text)
    assert main(["check", str(tmp_path / "x.dsk")]) == 0


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("llama", {"hidden_act": "gelu"}, "hidden_act: 'gelu' cannot be said"),
        ("llama", {"attention_dropout": 0.1}, "attention_dropout: 0.1 cannot be said"),
        ("llama", {"sliding_window": 128}, "sliding_window: 128 is not known to change nothing"),
        ("llama", {"new_trick": 3}, "new_trick: 3 is not known to change nothing"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2}}, "rope_type: 'linear' cannot be said"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}},
            "rope_type: 'llama3' cannot be said",
        ),
        ("llama", {"rope_parameters": {"rope_theta": 5e5, "odd": 1}}, "rope_parameters.odd: 1 cannot be said"),
        ("llama", {"hidden_size": "a) {"}, "hidden_size: 'a) {' is not a value that it can have"),
        ("llama", {"num_hidden_layers": True}, "num_hidden_layers: True is not a value"),
        ("llama", {"rms_norm_eps": -1.0}, "rms_norm_eps: -1.0 is not a value"),
        ("llama", {"model_type": "mistral"}, "model_type 'mistral' is not one of llama, qwen2, qwen3, gpt2"),
        ("llama", {"model_type": ["llama"]}, "model_type ['llama'] is not one of"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config: {'bits': 4} cannot be said"),
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window: True cannot be said"),
        ("qwen2", {"layer_types": ["sliding_attention", "full_attention"]}, "layer_types:"),
        ("gpt2", {"activation_function": "relu"}, "activation_function: 'relu' cannot be said"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx: True cannot be said"),
        ("gpt2", {"tie_word_embeddings": False}, "tie_word_embeddings: False cannot be said"),
        ("gpt2", {"attn_pdrop": 0.2}, "`gpt2` has one rate of dropout"),
    ],
)
def test_what_cannot_be_said_is_an_error(name: str, changes: Any, said: str, tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path, config(name, **changes))

    assert main(["import", path, "-o", str(tmp_path / "x.dsk")]) == 1

    found = capsys.readouterr()
    assert said in found.err
    assert not found.out
    assert not (tmp_path / "x.dsk").exists()


@pytest.mark.parametrize("key", ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"])
def test_a_missing_size_is_named(key: str, tmp_path: Path, capsys: Any) -> None:
    content = config("llama")
    del content[key]

    assert main(["import", write(tmp_path, content)]) == 1
    assert f"{key} is missing" in capsys.readouterr().err


def test_sizes_that_do_not_go_together_are_the_specs_own_errors(tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path, config("llama", num_key_value_heads=3))

    assert main(["import", path]) == 1
    assert re.search(r"error\[E05\d\d\]", capsys.readouterr().err)


def test_a_key_can_be_left_out_by_name(tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path, config("llama", new_trick=3))

    assert main(["import", path, "--ignore", "new_trick"]) == 0
    assert main(["import", path, "--ignore", "other"]) == 2
    assert "has no key 'other'" in capsys.readouterr().err


def test_old_configs_mean_the_same(tmp_path: Path, capsys: Any) -> None:
    content = config("llama_theta")
    assert main(["import", write(tmp_path, content)]) == 0
    new = capsys.readouterr().out
    del content["rope_parameters"]

    assert main(["import", write(tmp_path, {**content, "rope_theta": 77_000.0, "rope_scaling": None})]) == 0
    assert capsys.readouterr().out == new
    assert "rope: 77_000" in new


@pytest.mark.parametrize("text", ["", "[1]", "{", "nul\x00l", "[" * 100_000])
def test_what_is_no_config_is_a_usage_error(text: str, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)

    assert main(["import", str(path)]) == 2
    assert main(["import", str(tmp_path / "none.json")]) == 2


def test_a_file_that_exists_is_kept(tmp_path: Path) -> None:
    (tmp_path / "x.dsk").write_text("mine")

    assert main(["import", write(tmp_path, config("llama")), "-o", str(tmp_path / "x.dsk")]) == 2
    assert (tmp_path / "x.dsk").read_text() == "mine"


def test_a_folder_of_any_name_stays_text(tmp_path: Path) -> None:
    folder = tmp_path / 'we"i\\rd } {'
    write(folder, config("llama"))
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "tokenizer.json").write_text("{}")

    assert main(["import", str(folder / "config.json"), "-o", str(tmp_path / "x.dsk")]) == 0

    assert main(["check", str(tmp_path / "x.dsk")]) == 0
    assert f"hf({quoted(str(folder))})" in (tmp_path / "x.dsk").read_text()
    assert repr(str(folder)).replace("'", "")[-8:] in (compiled(tmp_path, tmp_path / "x.dsk") / "train.py").read_text()


def test_no_key_is_both_read_and_neutral() -> None:
    for family in FAMILIES.values():
        assert not {*family.argument, *family.fixed, *family.training} & {*NEUTRAL, *family.neutral}


@pytest.mark.parametrize("code", ["E0536", "E0537"])
def test_pages_about_exports(code: str, tmp_path: Path, capsys: Any) -> None:
    page = (ROOT / f"dsl/errors/{code}.md").read_text()
    wrong, right = re.findall(r"```dsk\n(.*?)```", page, re.DOTALL)
    (tmp_path / "wrong.dsk").write_text(wrong)
    (tmp_path / "right.dsk").write_text(right)

    assert main(["compile", str(tmp_path / "wrong.dsk"), "-o", str(tmp_path / "p")]) == 1
    assert re.findall(r"error\[(E\d+)\]", capsys.readouterr().err) == [code]
    assert main(["compile", str(tmp_path / "right.dsk"), "-o", str(tmp_path / "p")]) == 0
