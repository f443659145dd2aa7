"""No text of a spec becomes code: hostile names, strings, paths, titles and comments stay data."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from dskc.compiler.build import check
from dskc.compiler.emit import text
from dskc.dsl.source import Source

from .compiled import compile_source, example

HOSTILE = (
    '"); import os; os.system("x") #',
    "'); boom() #",
    '""" + boom() + """',
    "\\",
    '\\"',
    "{{ boom() }}",
    "{% raw %}{{ 7 * 7 }}",
    "{stdlib}${boom()}",
    "%s %(boom)s {0} {boom}",
    "a\u2028boom()\u2029b",
    "a\u0085boom()\x0cboom()\x1cboom()",
    "\u202eboom()\u2066\u200f",
    "a\x00b",
    "\r\nboom()",
    "é\U0001f600",
)
MODULES = {
    "torch", "torch.nn.functional", "argparse", "pathlib", "math", "time", "itertools", "__future__", "model",
    "dskc.runtime", "dskc.runtime.initialize",
}  # fmt: skip
CALLABLE = {
    "Path", "next", "super", "range", "min", "max", "round", "len", "int", "print", "initialize", "load_data",
    "build_optimizer", "validate", "train", "main", "write_sample", "objectives", "self", "part", "layer",
}  # fmt: skip


def quoted(value: str) -> str:
    """The value as a string of the language."""
    return json.dumps(value, ensure_ascii=False)


def assert_harmless(source: str) -> None:
    """Imports are known, calls are of known names, and nothing runs but the definitions of a program."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= MODULES
        if isinstance(node, ast.ImportFrom):
            assert node.module in MODULES
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id in CALLABLE or node.func.id[0].isupper(), node.func.id
        if isinstance(node, ast.Name | ast.Attribute | ast.FunctionDef | ast.ClassDef | ast.arg):
            name = getattr(node, "id", getattr(node, "attr", getattr(node, "name", getattr(node, "arg", ""))))
            assert "boom" not in name, ast.unparse(node)
        allowed = ast.Import | ast.ImportFrom | ast.Assign | ast.FunctionDef | ast.ClassDef | ast.Expr | ast.If
        assert not isinstance(node, ast.Module) or all(isinstance(each, allowed) for each in node.body)
        assert not isinstance(
            node, ast.Lambda | ast.Global | ast.Nonlocal | ast.Delete | ast.Try | ast.AsyncFunctionDef
        )
    assert [n for n in tree.body if isinstance(n, ast.Expr)] == tree.body[:1]
    unusual = [c for c in source if not c.isprintable() and c != "\n"]
    assert unusual == []


def test_the_allow_list_notices() -> None:
    with pytest.raises(AssertionError):
        assert_harmless('"""d"""\nimport os\n')
    with pytest.raises(AssertionError):
        assert_harmless('"""d"""\nx = boom()\n')
    with pytest.raises(AssertionError):
        assert_harmless('"""d"""\nprint(1)\n')


def attempts() -> list[tuple[str, ...]]:
    """Overrides, each with a hostile text in another place."""
    found: list[tuple[str, ...]] = []
    for value in HOSTILE:
        found.append((f"data.source=text({quoted(value)})",))
        found.append((f"data.source=jsonl({quoted('a')}, field: {quoted(value)})",))
        found.append((f"data.source=parquet({quoted('a')}, column: {quoted(value)})",))
        found.append((f"data.tokenizer=file({quoted(value)})", "data.vocab=99"))
        found.append((f"observe.sample=sample({quoted(value)})",))
    return found


def test_strings_of_settings() -> None:
    compiled = 0
    for flags in attempts():
        checked = check(example("stdlib_gpt"), None, flags)
        if checked.lowered is None:  # refused with an error
            assert checked.sink.failed
            continue
        files = compile_source(example("stdlib_gpt"), *flags)
        assert_harmless(files["train.py"])
        assert_harmless(files["model.py"])
        compiled += 1
    assert compiled >= len(attempts()) // 2


@pytest.mark.parametrize("value", HOSTILE)
def test_a_string_arrives_as_it_was(value: str) -> None:
    files = compile_source(example("stdlib_gpt"), 'data.source=text("PATTERN")')
    quoted_value = text.quoted(value)

    assert ast.literal_eval(quoted_value) == value
    assert_harmless(files["train.py"].replace('"PATTERN"', quoted_value))


@pytest.mark.parametrize("value", HOSTILE)
def test_names_of_files_and_comments(value: str) -> None:
    """The spec's own file name stands in the docstring and in each comment."""
    name = value.replace("\x00", "").replace("/", "_") + ".dsk"
    files = compile_source(Source(name, f"# {value.splitlines()[0]}\n" + example("stdlib_gpt").text))

    assert_harmless(files["train.py"])
    assert_harmless(files["model.py"])


TITLES = ("class", "Tensor", "import", "None", "__init__", "nn", "F", "self", "torch", "INITIAL", "model_", "x2")


@pytest.mark.parametrize("title", TITLES)
def test_titles_labels_and_names_that_python_has(title: str) -> None:
    source = example("stdlib_gpt").text
    source = source.replace("model gpt {", f"model {title} {{").replace(
        "logits", f"{title}_1" if title == "x2" else title
    )
    checked = check(Source("s.dsk", source))
    if checked.lowered is None:
        assert checked.sink.failed
        return
    files = compile_source(Source("s.dsk", source))
    assert_harmless(files["model.py"])
    assert_harmless(files["train.py"])
    compile(files["model.py"], "model.py", "exec")


EXTERN = """dsk 1
extern op boomless from "{path}" (x: [B, 4]) -> [B, 4]
model m {{
  forward(images: [B, 4], labels: int[B]) {{
    loss cross_entropy(linear(boomless(images) as part, out: 3), labels)
  }}
}}
data {{ source: random(), classes: 3 }}
training {{ steps: 2 }}
optimizer sgd {{ lr: 0.1 }}
"""
BAD_PATHS = (
    "a b.py:Net", "a.py:Net()", "a.py:Net\\nimport os", "os.py:Net", "model.py:Net", "train.py:Net", "a;b.py:Net",
    "a-b.py:Net", "torch.py:Net", "a.py:class", "missing.py:Net", "a.txt:Net", "a.py", "class.py:Net", "é.py:Net",
)  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_of_extern_ops_that_cannot_be_modules(path: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    with pytest.raises(AssertionError, match=r"E0|assert"):
        compile_source(Source(str(tmp_path / "s.dsk"), EXTERN.format(path=path)))


def test_an_extern_op_is_copied_and_imported(tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text("from torch import nn\n\n\nclass Net(nn.Identity):\n    pass\n")

    files = compile_source(Source(str(tmp_path / "s.dsk"), EXTERN.format(path="parts.py:Net")))

    assert files["parts.py"] == (tmp_path / "parts.py").read_text()
    assert "from parts import Net\n" in files["model.py"]
    assert "self.part = Net()" in files["model.py"]


@pytest.mark.parametrize("name", ["a b", "a;b", "1a", "class", "é", "a\n", "", "a.b", "a\u2028"])
def test_identifiers(name: str) -> None:
    with pytest.raises(text.UnsafeName):
        text.identifier(name)
