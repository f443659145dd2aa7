"""What a plain install gets: an editable install hides a package or a data file that the wheel lacks."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

from dskc.compiler.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
DATA_SUFFIXES = {".lark", ".json", ".md", ".dsk", ".j2", ".typed"}


def test_the_version_is_the_same_in_the_code() -> None:
    assert PYPROJECT["project"]["version"] == VERSION


def sources(suffixes: set[str]) -> list[tuple[str, Path]]:
    """The path in the wheel and the file of everything below the mapped folders that ends so."""
    found = []
    for package, folder in SETUPTOOLS["package-dir"].items():
        base = ROOT / folder
        for file in sorted(base.rglob("*")):
            if file.is_file() and file.suffix in suffixes and "__pycache__" not in file.parts:
                found.append((f"{package.replace('.', '/')}/{file.relative_to(base).as_posix()}", file))
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel built from a copy of the sources, as `pip install .` builds it."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in SETUPTOOLS["package-dir"].values():
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                target = copy / file.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read_bytes())
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--wheel-dir", str(out), str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("dskc-*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_every_folder_with_python_is_a_listed_package() -> None:
    folders = {name.rpartition("/")[0].replace("/", ".") for name, _ in sources({".py"})}

    assert folders == set(SETUPTOOLS["packages"])


@pytest.mark.parametrize("kind", ["python", "data"])
def test_wheel_holds_every_file(wheel: set[str], kind: str) -> None:
    expected = {name for name, _ in sources({".py"} if kind == "python" else DATA_SUFFIXES)}

    assert expected
    assert not expected - wheel


def test_wheel_holds_nothing_else(wheel: set[str]) -> None:
    packages = tuple(package.replace(".", "/") + "/" for package in SETUPTOOLS["package-dir"])

    assert not {name for name in wheel if not name.startswith(packages) and ".dist-info/" not in name}


def test_no_file_kind_is_left_out() -> None:
    known = DATA_SUFFIXES | {".py"}
    files = [file for folder in SETUPTOOLS["package-dir"].values() for file in (ROOT / folder).rglob("*")]

    assert not [str(f) for f in files if f.is_file() and f.suffix not in known and "__pycache__" not in f.parts]


def test_constraints_pin_every_requirement() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert not [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)], "exact pins without a local version"

    extras = PYPROJECT["project"]["optional-dependencies"].values()
    wanted = [*PYPROJECT["project"]["dependencies"], *(name for extra in extras for name in extra)]
    names = {re.split(r"[<>=\[ ]", requirement)[0].lower() for requirement in wanted} - {"dskc"}

    assert not names - {pin.partition("==")[0].lower() for pin in pins}


def declared() -> list[str]:
    """Every `module:name` that the package announces."""
    groups = PYPROJECT["project"].get("entry-points", {}).values()
    return [*PYPROJECT["project"]["scripts"].values(), *(value for group in groups for value in group.values())]


@pytest.mark.parametrize("entry", declared())
def test_entry_points_resolve(entry: str) -> None:
    module, _, name = entry.partition(":")

    assert callable(getattr(import_module(module), name))
