"""Memory of activations over the number of layers:  python benchmarks/depth.py [--measure 4 16 64] [--figure FILE]

Predicts 4 to 256 layers without checkpointing and with `sqrt`, and measures the chosen depths with the
tracker of `memory.py`. Prints the exponent of the growth, and draws it where matplotlib is installed.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path

import machine
from memory import Case, measured, predicted

DEPTHS = (4, 8, 16, 32, 64, 128, 256)
KINDS = ("off", "sqrt")
WITHOUT = ("parameters", "gradients", "optimizer", "copies", "buffers")
SMALL = ("training.gradient_accumulation=1", "model.dim=64", "data.tokenizer=bytes", "data.vocab=256")


def main() -> int:
    """Prints a table; 1 when `sqrt` does not grow as a root, or `off` not linearly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", nargs="*", type=int, default=[4, 16, 64], help="depths to measure as well")
    parser.add_argument("--figure", type=Path, help="where to draw it (.svg or .png)")
    parser.add_argument("--keep", action="store_true", help="write the result to results/")
    flags = parser.parse_args()
    rows = {kind: curve(kind, flags.measure) for kind in KINDS}
    growth = {kind: exponent([row["activations"] for row in rows[kind]]) for kind in KINDS}
    for kind in KINDS:
        for row in rows[kind]:
            seen = f"{row['measured'] / 2**20:10.2f} MiB measured" if "measured" in row else ""
            print(f"{kind:6}{row['depth']:5} layers {row['activations'] / 2**20:10.2f} MiB{seen}")
        print(f"{kind:6} grows with the {growth[kind]:.2f}th power of the depth from 16 to 256 layers")
    if flags.figure:
        draw(rows, flags.figure)
    if flags.keep:
        print(machine.write("depth", machine.describe(), {"rows": rows, "exponents": growth}))
    return int(not (growth["off"] > 0.95 and 0.4 < growth["sqrt"] < 0.6))


def curve(kind: str, depths: list[int]) -> list[dict[str, float]]:
    """Activations of each depth: the peak without what is stored for each layer anyway."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cases = [Case("stdlib_gpt", "fp32", kind, (*SMALL, f"model.depth={depth}")) for depth in DEPTHS]
        places = [Path(folder) / str(depth) for depth in DEPTHS]
        found = [predicted(case, place) for case, place in zip(cases, places, strict=True)]
        seen = measured([place for depth, place in zip(DEPTHS, places, strict=True) if depth in depths])
        peaks = {int(each["case"]): each["peak"] for each in seen}
        for depth, each in zip(DEPTHS, found, strict=True):
            stored = sum(each["kinds"][name] for name in WITHOUT)
            row = {"depth": depth, "activations": each["predicted"] - stored}
            rows.append(row | ({"measured": peaks[depth] - stored} if depth in peaks else {}))
    return rows


def exponent(sizes: list[float]) -> float:
    """Of the power of the depth that the last sizes grow with, from 16 layers on."""
    first = DEPTHS.index(16)
    return math.log(sizes[-1] / sizes[first]) / math.log(DEPTHS[-1] / DEPTHS[first])


def draw(rows: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Both axes logarithmic: a line of slope 1 and one of slope 1/2."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    for kind, row in rows.items():
        (line,) = axes.loglog(DEPTHS, [each["activations"] / 2**20 for each in row], label=f"{kind}, predicted")
        seen = [each for each in row if "measured" in each]
        x, y = [each["depth"] for each in seen], [each["measured"] / 2**20 for each in seen]
        axes.loglog(x, y, "o", color=line.get_color(), label=f"{kind}, measured")
    axes.set_xticks(DEPTHS, [str(depth) for depth in DEPTHS])
    axes.minorticks_off()
    axes.set_xlabel("layers")
    axes.set_ylabel("activations at the peak, MiB")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
