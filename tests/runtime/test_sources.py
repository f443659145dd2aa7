"""Documents: what is read, in which order, what is refused, and a split that cannot leak."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from dskc.runtime import sources
from dskc.runtime.errors import RunError


def write(folder: Path, **files: str | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def test_files_are_documents_sorted_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a", z_txt="last", B_txt="first")
    write(tmp_path / "a" / "deep", c_txt="middle", d_md="not asked for", e_txt="")
    documents = sources.text(f"{tmp_path}/**/*.txt")
    assert list(documents) == ["first", "middle", "last"]
    assert len(documents) == 3
    assert documents.characters == 15


def test_the_standard_library_without_packages_and_tests() -> None:
    files = sources.find("{stdlib}/**/*.py")
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    names = {str(path.relative_to(stdlib)) for path in files}
    assert {"argparse.py", "json/decoder.py"} <= names
    assert not any("site-packages" in name or "/test/" in f"/{name}" for name in names)


def test_nothing_found_names_pattern_and_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"'.*/\*\*/\*\.txt': looked in .*, which has no file like that"):
        sources.text(f"{tmp_path}/**/*.txt")
    with pytest.raises(RunError, match=r"looked in .*/nowhere, which does not exist"):
        sources.text(f"{tmp_path}/nowhere/*.txt")
    with pytest.raises(RunError, match=r"no file matches '.*/one\.txt'"):
        sources.text(f"{tmp_path}/one.txt")


def test_empty_files_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, a_txt="", b_txt="")
    with pytest.raises(RunError, match="holds no text: 2 files matched"):
        sources.text(f"{tmp_path}/*.txt")


def test_files_that_are_not_utf8_are_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, a_txt="good", b_txt=b"\xff\xfe\x00bad", c_txt=b"\xef\xbb\xbfwith a mark")
    assert list(sources.text(f"{tmp_path}/*.txt")) == ["good", "with a mark"]
    assert "1 files left out because they are not UTF-8: " in capsys.readouterr().out


def test_a_long_file_is_cut_at_line_ends_and_loses_nothing(tmp_path: Path) -> None:
    content = "".join(f"line {number}\n" for number in range(80_000)) + "x" * 600_000
    write(tmp_path, long_txt=content)
    documents = list(sources.text(f"{tmp_path}/*.txt"))
    assert "".join(documents) == content
    assert max(map(len, documents)) <= sources.PIECE
    assert documents[0].endswith("\n")


def test_jsonl(tmp_path: Path) -> None:
    lines = [json.dumps({"text": "one", "id": 1}), "", json.dumps({"text": "zwei ü\n"})]
    write(tmp_path, a_jsonl="\n".join(lines))
    assert list(sources.jsonl(f"{tmp_path}/*.jsonl")) == ["one", "zwei ü\n"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"a\.jsonl:2: not a line of JSON"),
        ("[1]", r"a\.jsonl:2: no field 'text'; there is list"),
        ('{"body": "x", "id": 1}', r"a\.jsonl:2: no field 'text'; there is body, id"),
        ('{"text": "\\ud83d!"}', r"a\.jsonl:2: the field 'text' has half a surrogate pair"),
        ('{"text": 5}', r"a\.jsonl:2: the field 'text' is no text but int"),
    ],
)
def test_jsonl_refuses(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path, a_jsonl='{"text": "fine"}\n' + line)
    with pytest.raises(RunError, match=message):
        sources.jsonl(f"{tmp_path}/*.jsonl")


def test_parquet(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["one", None, "two"], "id": [1, 2, 3]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert list(sources.parquet(f"{tmp_path}/*.parquet")) == ["one", "two"]
    with pytest.raises(RunError, match="no column 'body'; there is text, id"):
        sources.parquet(f"{tmp_path}/*.parquet", column="body")
    with pytest.raises(RunError, match="the column 'id' is no text but int64"):
        sources.parquet(f"{tmp_path}/*.parquet", column="id")
    write(tmp_path, b_parquet=b"PAR1 no")
    with pytest.raises(RunError, match=r"b\.parquet: not a Parquet file"):
        sources.parquet(f"{tmp_path}/*.parquet")


def corpus(folder: Path, count: int) -> sources.Documents:
    # Every text is there twice: copies must not end on both sides.
    write(folder, a_jsonl="\n".join(json.dumps({"text": f"document {number // 2}"}) for number in range(count)))
    return sources.jsonl(f"{folder}/*.jsonl")


def test_the_split_never_leaks_and_meets_its_share(tmp_path: Path) -> None:
    documents = corpus(tmp_path, 4_000)
    training, validation = sources.split(documents, share=0.1, seed=1)
    assert sorted([*training, *validation]) == sorted(documents)
    assert not set(training) & set(validation)
    assert len(validation) / len(documents) == pytest.approx(0.1, abs=0.02)
    assert training.key != validation.key != documents.key


def test_the_split_depends_on_the_seed_and_on_nothing_else(tmp_path: Path) -> None:
    few, many = corpus(tmp_path / "few", 1_000), corpus(tmp_path / "many", 4_000)
    held_out = set(sources.split(few, 0.1, seed=1)[1])
    assert held_out == set(sources.split(many, 0.1, seed=1)[1]) & set(few)
    assert held_out != set(sources.split(few, 0.1, seed=2)[1])


@pytest.mark.parametrize("share", [1e-9, 0.999999])
def test_each_side_of_a_split_has_something(tmp_path: Path, share: float) -> None:
    training, validation = sources.split(corpus(tmp_path, 6), share, seed=1)
    assert len(training) >= 2
    assert len(validation) >= 2


def test_one_document_cannot_be_split(tmp_path: Path) -> None:
    write(tmp_path, a_txt="all there is")
    with pytest.raises(RunError, match="is one document of 12 characters"):
        sources.split(sources.text(f"{tmp_path}/*.txt"), 0.1, seed=1)
