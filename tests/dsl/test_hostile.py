"""Whatever stands in a setting: findings, never an exception, and soon."""

import pytest

from dskc.dsl.schema.sections import SECTIONS
from dskc.dsl.schema.types import settings_of
from tests.dsl.specs import IMAGES, settle

VALUES = [
    "1",
    "-1",
    "0",
    "10 ** 400",
    "2.5",
    "1e308",
    "true",
    "none",
    "auto",
    '""',
    '"\\0"',
    "bf16",
    "x",
    "a.b",
    "data.vocab",
    "model",
    "training.steps.x",
    "5%",
    "5 GiB",
    "3 steps",
    "1 / 0",
    "()",
    "[]",
    "(1, 2)",
    "(none, auto)",
    "[[1], [2]]",
    "norm",
    "norm(1.0)",
    "norm(1, 2, 3, 4)",
    "norm(max: max)",
    "cosine(cosine(cosine))",
    "every(every(1))",
    "f(x) as y",
    "f(x) share y",
    "f() + 1",
    "not 1",
    "- auto",
    "1 < 2 < 3",
    "999999999999999999999 steps",
    '"x" == "x"',
    "text(1)",
    "parameter_server(-1)",
    "group",
]
PATHS = [(s, o.kind, name) for s, owners in SECTIONS.items() for o in owners for name in settings_of(o)]


@pytest.mark.parametrize("value", VALUES)
def test_any_value_anywhere(value: str) -> None:
    for kind in ("adamw", "sgd", "muon"):
        here = [(s, k, n) for s, k, n in PATHS if s != "optimizer" or k == kind]
        bodies = "".join(f"{s} {k} {{ {n}: {value} }}\n" for s, k, n in here)

        assert len(settle(IMAGES + bodies)[1])
        paths = "\n".join(f"{s}.{n}: {value}" for s, _, n in here)
        settle(f"{IMAGES}optimizer {kind} {{ }}\nprofile p {{\n{paths}\n}}\n", "p")
        settle(IMAGES, None, *(f"{s}.{n}={value}" for s, _, n in here))


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"unknown_{i}_name {{ a: 1 }}\n" for i in range(20_000)),
        "optimizer { " + "".join(f"lr{i}: 1\n" for i in range(20_000)) + "}\n",
        "optimizer { betas: (" + ",\n".join(f"n{i}" for i in range(50_000)) + ") }\n",
        "optimizer { lr: 1 +\n(" + " +\n".join(f"n{i}" for i in range(50_000)) + ") }\n",
        "".join(f"let a{i} = a{i + 1}\n" for i in range(5_000)) + "let a5000 = a0\n",
        "".join(f"let a{i} = a{i + 1}\n" for i in range(5_000)) + "let a5000 = 1\noptimizer { lr: a0 }\n",
        "let a0 = (1, 2)\n" + "".join(f"let a{i + 1} = (a{i}, a{i})\n" for i in range(60)),
        "let a0 = (1,)\n" + "".join(f"let a{i + 1} = (a{i},)\n" for i in range(3_000)),
        "model m { z0: (1, 2)\n" + "".join(f"z{i + 1}: (z{i}, z{i})\n" for i in range(60)) + "}\n",
        "let a0 = \"abc\"\n" + "".join(f"let a{i + 1} = a{i} + a{i}\n" for i in range(60)),
        "".join(f"profile p{i} {{ training.steps: {i} }}\n" for i in range(5_000)),
        "".join(f"profile p{i} {{ training.stepz: {i} }}\n" for i in range(900)),
    ],
    ids=range(12),
)  # fmt: skip
def test_much_of_it(text: str) -> None:
    settle(IMAGES + text)
