"""Losses: means over the batch, in fp32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..dims import Dim, product
from ..node import Node, Tensor
from ..placement import INVARIANT, PARTIAL, REPLICATED, Move, Row, Sharding, shard
from .base import Attribute, Inferred, Op, Saved
from .common import DIM, Emit, dimension, keywords, number, operand, require_kind, require_rank, require_same, whole
from .sharding import moving, partial_result, share_of_mean, spelled, whole_operands


def check_classes(inputs: Mapping[str, Any]) -> None:
    """Error unless targets are whole numbers with the shape of the logits without its last dimension."""
    logits, targets = inputs["logits"], inputs["targets"]
    require_kind(logits, "float", "logits")
    require_rank(logits, (2, 3, 4, 5), "logits", "[..., classes]")
    require_kind(targets, "int", "targets")
    require_same(
        Tensor(logits.shape[:-1], "int"),  # type: ignore[arg-type]
        targets,
        "`targets` is {b}, but `logits` ask for {a}",
        "targets",
        "one class number for each row of logits",
    )


def _cross_entropy(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    check_classes(inputs)
    number(attrs, "label_smoothing", 0.0, 1.0)
    whole(attrs, "ignore", least=-(2**62))
    return Inferred((Tensor(()),))


def _emit_cross_entropy(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    smoothing = keywords(label_smoothing=node.attrs["label_smoothing"] or None)
    return class_call("cross_entropy", node, args, smoothing)


def ignoring(node: Node) -> str:
    """`, ignore=0` where that is not the usual one."""
    return keywords(ignore=None if node.attrs["ignore"] == -100 else node.attrs["ignore"])


def class_call(name: str, node: Node, args: Mapping[str, str], options: str) -> str:
    """Call of a function of logits and targets; classes that are split bring an axis, shares of a mean its total."""
    axes = moving(node, "classes")
    given = f"{args['logits']}, {args['targets']}{''.join(f', {axis}' for axis in axes)}"
    return f"layers.{'split_' if axes else ''}{name}({given}{ignoring(node)}{options}{_total(node, args['targets'])})"


def _total(node: Node, targets: str) -> str:
    """How many targets of all ranks count: known from the batch, or the ranks tell each other, where some may not."""
    if "counted" in node.attrs:
        return f", total={total_of(node)}"
    axes = partial_result(node)
    if not axes:
        return ""
    if node.attrs.get("masked"):
        return f", total=layers.counted({targets}, {', '.join(axes)}{ignoring(node)})"
    return f", total={operand(targets)}.numel()" + "".join(f" * {axis}.size" for axis in axes)


def total_of(node: Node) -> str:
    """The counted targets that a program passes in, for the mask of this node."""
    return f"counted[{node.attrs['counted']}]"


def class_sharding(node: Node, inputs: Sequence[Tensor], numbers: int) -> Sharding:
    """Rows of logits: a share of the mean; or the classes: ranks gather `numbers` for each row.

    The sharding pass sets "counted" where targets may be ignored and the program knows how many are not, else "masked".
    """
    counts = (Move("all_reduce", "targets", 1),) if node.attrs.get("masked") else ()
    samples = (Row((shard(i), shard(i)), (), (PARTIAL,), counts) for i in range(len(inputs[1].shape)))
    return Sharding(*whole_operands(inputs), rows=(class_row(inputs, numbers), *samples))


def class_row(inputs: Sequence[Tensor], numbers: int) -> Row:
    """The row with split classes: the result is whole."""
    moved = Move("all_gather", "classes", numbers * product(inputs[1].shape))
    return Row((shard(len(inputs[1].shape)), REPLICATED), (), (INVARIANT,), (moved,))


def _cross_entropy_saved(node: Node, inputs: Sequence[Tensor]) -> tuple[Saved, ...]:
    targets = inputs[1]
    return ("logits", targets, Tensor(targets.shape, "bool"), Tensor(targets.shape), Tensor((), "int"))


IGNORE = Attribute("ignore", "int", "the target that does not count", -100)
CROSS_ENTROPY = Op(
    "cross_entropy",
    "Mean of -log softmax(logits)[target] over the targets that are not ignored.",
    ("logits", "targets"),
    _cross_entropy,
    _emit_cross_entropy,
    (IGNORE, Attribute("label_smoothing", "float", "share of the target spread over all classes", 0.0)),
    saved=_cross_entropy_saved,
    sharding=lambda node, inputs: class_sharding(node, inputs, 3 if node.attrs["label_smoothing"] else 2),
    imports=("layers",),
    category="loss",
)


def _pair(first: str, second: str) -> Any:
    def infer(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
        a, b = inputs[first], inputs[second]
        require_kind(a, "float", first)
        require_kind(b, "float", second)
        require_same(a, b, f"`{first}` is {{a}}, but `{second}` is {{b}}", second)
        if "temperature" in attrs:
            number(attrs, "temperature", 1e-6)
            require_rank(a, (2, 3, 4, 5), first, "[..., classes]")
        return Inferred((Tensor(()),))

    return infer


def _torch_loss(name: str, first: str, second: str) -> Emit:
    return lambda node, inputs, args, callee: share_of_mean(
        node, f"F.{name}({operand(args[first])}.float(), {operand(args[second])}.float())"
    )


def _mean_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    letters = spelled(len(inputs[0].shape))
    return Sharding((letters, letters), (), ("",), letters)


def _emit_kl(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    temperature = None if node.attrs["temperature"] == 1 else node.attrs["temperature"]
    text = f"layers.kl_divergence({args['student']}, {args['teacher']}{keywords(temperature=temperature)})"
    return share_of_mean(node, text)


def _kl_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    letters = spelled(len(inputs[0].shape), -1)
    return Sharding((letters, letters), (), ("",), letters[:-1])


def _contrastive(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    a, b, scale = inputs["a"], inputs["b"], inputs["scale"]
    require_rank(a, (2,), "a", "[B, features]")
    require_same(a, b, "`a` is {a}, but `b` is {b}: rows must belong together", "b")
    require_rank(scale, (0,), "scale", "one number")
    return Inferred((Tensor(()),))


def _emit_contrastive(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    axes = "".join(f", {axis}" for axis in moving(node))
    return f"layers.{'split_' if axes else ''}contrastive({args['a']}, {args['b']}, {args['scale']}{axes})"


def _contrastive_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    """Each rank compares its rows with all rows, which it gathers; their gradients go back as sums."""
    size = inputs[0].elements
    moves = tuple(Move("all_gather", name, size, size) for name in ("a", "b"))
    own = Row((shard(0), shard(0), REPLICATED), (), (PARTIAL,), moves)
    return Sharding(*whole_operands(inputs), rows=(own,))


def _contrastive_local(node: Node, sizes: Mapping[str, int]) -> Mapping[str, Any]:
    """`ranks`: how many times this rank's rows it compares with."""
    ranks = product(tuple(sizes.get(axis, 1) for axis, _ in dict(node.moves).items()))
    return node.attrs if ranks == 1 else {**node.attrs, "ranks": ranks}


def _contrastive_flops(node: Node, inputs: Sequence[Tensor]) -> Dim:
    """Both ways are one product where all rows are here, else two of this rank's rows with all."""
    ranks: int = node.attrs.get("ranks", 1)
    return 2 * inputs[0].elements * inputs[0].shape[0] * (ranks if ranks == 1 else 2 * ranks)


def _contrastive_saved(node: Node, inputs: Sequence[Tensor]) -> tuple[Saved, ...]:
    a, ranks = inputs[0], node.attrs.get("ranks", 1)
    rows = a.shape[0]
    square = Tensor((rows, rows * ranks))
    gathered = Tensor((rows * ranks, a.shape[1]))
    products = (a,) if ranks == 1 else (a, a, gathered, gathered)
    return ("a", "b", "scale", *products, square, square, Tensor((rows,), "int"), Tensor(()), Tensor(()))


def _cosine(inputs: Mapping[str, Any], attrs: Mapping[str, Any]) -> Inferred:
    a, b = inputs["a"], inputs["b"]
    require_kind(a, "float", "a")
    require_same(a, b, "`a` is {a}, but `b` is {b}", "b")
    dim = dimension(attrs, a, "a")
    return Inferred((Tensor(a.shape[:dim] + a.shape[dim + 1 :]),))


def _emit_cosine(node: Node, inputs: Sequence[Tensor], args: Mapping[str, str], callee: str) -> str:
    return f"F.cosine_similarity({args['a']}, {args['b']}{keywords(dim=node.attrs['dim'])})"


def _cosine_sharding(node: Node, inputs: Sequence[Tensor]) -> Sharding:
    dim = dimension(node.attrs, inputs[0], "a")
    letters = spelled(len(inputs[0].shape), dim)
    return Sharding((letters, letters), (), (letters[:dim] + letters[dim + 1 :],))


def _cosine_saved(node: Node, inputs: Sequence[Tensor]) -> tuple[Saved, ...]:
    shape = list(inputs[0].shape)
    shape[dimension(node.attrs, inputs[0])] = 1
    row = Tensor(tuple(shape))
    return ("a", "b", inputs[0], inputs[0], row, row, row, row)


LOSSES = (
    CROSS_ENTROPY,
    Op(
        "mse",
        "Mean of the squared differences.",
        ("prediction", "target"),
        _pair("prediction", "target"),
        _torch_loss("mse_loss", "prediction", "target"),
        saved=lambda node, inputs: ("prediction", "target"),
        sharding=_mean_sharding,
        imports=("F",),
        category="loss",
    ),
    Op(
        "binary_cross_entropy",
        "Mean of -log of the probability of targets between 0 and 1, from logits.",
        ("logits", "targets"),
        _pair("logits", "targets"),
        _torch_loss("binary_cross_entropy_with_logits", "logits", "targets"),
        saved=lambda node, inputs: ("logits", "targets"),
        sharding=_mean_sharding,
        imports=("F",),
        category="loss",
    ),
    Op(
        "kl_divergence",
        "Mean over rows of KL(teacher || student) at a temperature, times its square.",
        ("student", "teacher"),
        _pair("student", "teacher"),
        _emit_kl,
        (Attribute("temperature", "float", "divides the logits", 1.0),),
        saved=lambda node, inputs: (inputs[0], inputs[1]),
        sharding=_kl_sharding,
        imports=("layers",),
        category="loss",
    ),
    Op(
        "contrastive",
        "Symmetric InfoNCE: row i of `a` belongs to row i of `b`; both are unit vectors, `scale` multiplies cosines.",
        ("a", "b", "scale"),
        _contrastive,
        _emit_contrastive,
        flops=_contrastive_flops,
        saved=_contrastive_saved,
        sharding=_contrastive_sharding,
        local=_contrastive_local,
        imports=("layers",),
        category="loss",
    ),
    Op(
        "cosine_similarity",
        "Cosine of the angle between vectors along a dimension.",
        ("a", "b"),
        _cosine,
        _emit_cosine,
        (DIM,),
        saved=_cosine_saved,
        sharding=_cosine_sharding,
        imports=("F",),
    ),
)
