"""What a body costs on one rank: seconds of products, seconds of moving bytes, and the collectives inside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..cluster import Machine
from ..dims import Dim, substitute
from ..node import Node, Tensor, Value
from ..ops import OPS
from ..passes.precision import STORED, WIDTH
from ..placement import CONVERSIONS, Move
from ..plan import Plan
from . import matmul
from .matmul import STREAM, Product

if TYPE_CHECKING:
    from ..plan import Graph

Moves = Mapping[tuple[str, str, int], tuple[float, float]]
"""(axis, kind of collective, bytes of the whole value) -> how often forward and backward."""

VIEWS: Final = frozenset({
    "input", "rearrange", "transpose", "flatten", "expand", "split", "slice", "select", "stop_gradient", "parameter",
})  # fmt: skip
"""Ops that read and write nothing: they look at the same bytes in another way."""
PRODUCTS: Final = frozenset({"linear", "expert_linear", "matmul", "conv2d"})
SWEEPS: Final = {"softmax": 1.5, "log_softmax": 1.5, "cross_entropy": 2.0, "layer_norm": 1.5, "rope": 2.0}
"""How often a kernel that does not fit its rows into a processor's memory, or that torch cuts into several, goes
over its data when nothing is fused."""


@dataclass(frozen=True)
class Work:
    """Seconds of one forward and one backward pass, and what they do.

    `products` and `bytes` are (forward, backward) seconds of matrix products and of kernels bound by memory,
    `attention` the part of the products that is fused attention; `flops` and `moved` are the operations of the forward
    products and the bytes of the forward kernels; `results` the bytes that products give.
    """

    products: tuple[float, float] = (0.0, 0.0)
    bytes: tuple[float, float] = (0.0, 0.0)
    flops: float = 0.0
    moved: float = 0.0
    moves: Moves = field(default_factory=dict)
    attention: tuple[float, float] = (0.0, 0.0)
    results: float = 0.0

    @property
    def forward(self) -> float:
        """Seconds of kernels forward."""
        return self.products[0] + self.bytes[0]

    @property
    def backward(self) -> float:
        """Seconds of kernels backward."""
        return self.products[1] + self.bytes[1]


def total(works: Iterable[Work], times: float = 1) -> Work:
    """The sum, `times` over."""
    products, seconds, fused, flops, moved, results = [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], 0.0, 0.0, 0.0
    moves: dict[tuple[str, str, int], tuple[float, float]] = {}
    for work in works:
        for side in (0, 1):
            products[side] += work.products[side] * times
            seconds[side] += work.bytes[side] * times
            fused[side] += work.attention[side] * times
        flops, moved = flops + work.flops * times, moved + work.moved * times
        results += work.results * times
        for key, (forward, backward) in work.moves.items():
            before = moves.get(key, (0.0, 0.0))
            moves[key] = (before[0] + forward * times, before[1] + backward * times)
    pairs = ((products[0], products[1]), (seconds[0], seconds[1]), (fused[0], fused[1]))
    return Work(pairs[0], pairs[1], flops, moved, moves, pairs[2], results)


class Worker:
    """Works of bodies for one machine and one set of sizes; each body is looked at once."""

    def __init__(
        self, plan: Plan, machine: Machine, sizes: Mapping[str, int], compute: str, fused: bool, casts: bool = True
    ) -> None:
        self.plan, self.machine, self.sizes, self.compute, self.fused = plan, machine, sizes, compute, fused
        self.casts = casts
        self._bodies: dict[str, Work] = {}

    def body(self, name: str) -> Work:
        """One call of a body."""
        if name not in self._bodies:
            self._bodies[name] = self.of(name, self.plan.nodes(name))
        return self._bodies[name]

    def of(self, body: str, nodes: Iterable[Node]) -> Work:
        """Some nodes of a body; what they call included."""
        nodes = tuple(nodes)
        parts = [total([self.body(node.body)], node.count) for node in nodes if node.body]
        parts += [self._node(body, node) for node in nodes if not node.body and self._is_product(node)]
        parts += [self._collective(body, node) for node in nodes if node.op == "collective"]
        parts += [self._inner_moves(body, node) for node in nodes if node.moves]
        rest = [node for node in nodes if not node.body and not self._is_product(node) and self._moves_bytes(node)]
        parts.append(self._fused(body, rest) if self.fused else total(self._alone(body, node) for node in rest))
        parts.append(self._sums(body, nodes))
        return total(parts)

    def _sums(self, body: str, nodes: Iterable[Node]) -> Work:
        """Backward adds up the gradients of a value that several nodes read: each further one is read once more.

        Alone, an addition reads two tensors and writes one.
        """
        graph = self.plan.graphs[body]
        moved = 0
        for node in nodes:
            edges = graph.out_edges(node.name, data=True)
            readers = [data["output"] for _, reader, data in edges if self._learns(graph, reader)]
            for output, tensor in enumerate(node.outputs):
                further = readers.count(output) - 1
                if tensor.kind == "float" and further > 0:
                    moved += further * self.elements(tensor) * self.width(node, output) * (1 if self.fused else 3)
        return Work(bytes=(0.0, self._stream(moved)))

    def _learns(self, graph: Graph, reader: str) -> bool:
        node: Node = graph.nodes[reader]["node"]
        return node.op not in OPS or OPS[node.op].category != "metric"

    def elements(self, tensor: Tensor) -> int:
        """Number of elements at the sizes of this run."""
        return self.number(tensor.elements)

    def number(self, dim: Dim) -> int:
        """A size as a number."""
        value = substitute(dim, self.sizes)
        assert isinstance(value, int), f"a symbolic size is left over: {value}"
        return value

    def width(self, node: Node, output: int) -> int:
        """Bytes of an element of an output."""
        dtype = node.dtypes[output] if node.dtypes else STORED[node.outputs[output].kind]
        return WIDTH[dtype]

    def value_bytes(self, body: str, value: Value) -> int:
        """Bytes of a value."""
        node: Node = self.plan.graphs[body].nodes[value[0]]["node"]
        return self.elements(node.outputs[value[1]]) * self.width(node, value[1])

    def _is_product(self, node: Node) -> bool:
        return node.op in PRODUCTS or node.op == "scaled_dot_product_attention"

    def _moves_bytes(self, node: Node) -> bool:
        return node.op in OPS and node.op not in VIEWS and OPS[node.op].category != "metric"

    def _node(self, body: str, node: Node) -> Work:
        inputs = [self.plan.tensor(body, value) for value in node.inputs]
        if node.op == "scaled_dot_product_attention":
            return self._attention(body, node, inputs)
        product = self._product(node, inputs)
        forward = matmul.seconds(product, self.machine) + self.machine.launch
        backward = sum(matmul.seconds(each, self.machine) + self.machine.launch for each in product.backward())
        weights = sum(self.elements(Tensor(parameter.shape)) for parameter in node.parameters)
        casts = self._casts(weights, product)
        return Work(
            (forward, backward), casts, product.flops, product.moved, results=self.value_bytes(body, (node.name, 0))
        )

    def _casts(self, weights: int, product: Product) -> tuple[float, float]:
        """Seconds of changing formats.

        Autocast writes the weights in the low format in every micro-batch, where they are not gathered in it, and adds
        their low gradients to those in fp32. In fp8 each factor is read twice (its largest value, then the values) and
        written, the gradient of the result likewise, and the factors once more in the order that backward needs.
        """
        full, low = WIDTH["fp32"], min(WIDTH.get(product.dtype, 2), WIDTH["fp32"])
        if low == full:
            return (0.0, self._stream(3 * weights * full))
        low = 2
        forward = weights * (full + low) if self.casts else 0
        backward = weights * (2 * full + low)
        if product.dtype == "fp8":
            factors = (product.m * product.k + product.k * product.n) * product.batch
            forward += factors * (2 * low + 1)
            backward += product.m * product.n * product.batch * (2 * low + 1) + 2 * factors
        return self._stream(forward), self._stream(backward)

    def _product(self, node: Node, inputs: list[Tensor]) -> Product:
        dtype = self._format(node)
        if node.op == "linear":
            rows = self.elements(inputs[0]) // self.number(inputs[0].shape[-1])
            return Product(rows, self.number(node.outputs[0].shape[-1]), self.number(inputs[0].shape[-1]), dtype=dtype)
        if node.op == "expert_linear":
            experts = self.number(node.parameters[0].shape[0])
            rows, width = self.number(inputs[0].shape[0]), self.number(inputs[0].shape[1])
            return Product(max(1, rows // experts), self.number(node.outputs[0].shape[1]), width, experts, dtype)
        if node.op == "conv2d":
            out = node.outputs[0].shape
            weight = node.parameters[0].shape
            places = self.number(out[0]) * self.number(out[2]) * self.number(out[3])
            groups = int(node.attrs["groups"])
            inner = self.number(weight[1]) * self.number(weight[2]) * self.number(weight[3])
            return Product(places, self.number(out[1]) // groups, inner, groups, dtype)
        a, b = inputs
        m, k, n = self.number(a.shape[-2]), self.number(a.shape[-1]), self.number(b.shape[-1])
        return Product(m, n, k, self.elements(node.outputs[0]) // (m * n), dtype)

    def _format(self, node: Node) -> str:
        """The format that the tensor cores run: fp8 covers linear layers, tf32 what is in fp32."""
        dtype = node.dtypes[0] if node.dtypes else "fp32"
        if self.compute == "fp8" and node.op in ("linear", "expert_linear"):
            return "fp8"
        return "tf32" if dtype == "fp32" and self.compute == "tf32" else dtype

    def _attention(self, body: str, node: Node, inputs: list[Tensor]) -> Work:
        """Fused attention: backward computes the scores again, five products for the two of forward (Dao 2023)."""
        flops = self.number(OPS[node.op].flops(node, inputs))
        dtype = self._format(node)
        rate = self.machine.peak(dtype) * self.machine.attention
        moved = sum(self.value_bytes(body, value) for value in (*node.inputs, (node.name, 0)))
        forward = max(flops / rate, self._stream(moved)) + self.machine.launch
        backward = max(2.5 * flops / rate, 2 * self._stream(moved)) + 2 * self.machine.launch
        results = self.value_bytes(body, (node.name, 0))
        return Work((forward, backward), (0.0, 0.0), flops, moved, {}, (forward, backward), results)

    def _alone(self, body: str, node: Node) -> Work:
        """A kernel of its own: reads its inputs and writes its outputs; backward also the gradients of both."""
        read = sum(self.value_bytes(body, value) for value in node.inputs)
        written = sum(self.elements(tensor) * self.width(node, index) for index, tensor in enumerate(node.outputs))
        return self._kernels(read, written, SWEEPS.get(node.op, 1.0))

    def _fused(self, body: str, nodes: list[Node]) -> Work:
        """Groups of kernels that a compiler joins: each reads what comes from outside and writes what is used there."""
        graph = self.plan.graphs[body]
        results = {value[0] for value in self.plan.results[body]}
        parts = []
        for members in _joined(self.plan, body, nodes):
            names = {node.name for node in members}
            outside = {value for node in members for value in node.inputs if value[0] not in names}
            left = [n for n in members if n.name in results or any(t not in names for t in graph.successors(n.name))]
            read = sum(self.value_bytes(body, value) for value in outside)
            written = sum(self.elements(t) * self.width(n, i) for n in left for i, t in enumerate(n.outputs))
            sweeps = max(
                1.0 if SWEEPS.get(node.op, 1.0) == SWEEPS["rope"] else SWEEPS.get(node.op, 1.0) for node in members
            )
            parts.append(self._kernels(read, written, sweeps))
        return total(parts)

    def _kernels(self, read: int, written: int, sweeps: float) -> Work:
        forward = sweeps * self._stream(read + written) + self.machine.launch
        backward = sweeps * self._stream(2 * read + written) + self.machine.launch
        return Work(bytes=(forward, backward), moved=sweeps * (read + written))

    def _stream(self, amount: float) -> float:
        return amount / (self.machine.bandwidth * STREAM)

    def _collective(self, body: str, node: Node) -> Work:
        conversion = CONVERSIONS[node.attrs["source"].kind, node.attrs["target"].kind]
        whole = max(self.value_bytes(body, node.inputs[0]), self.value_bytes(body, (node.name, 0)))
        counts: dict[tuple[str, str, int], tuple[float, float]] = {}
        for side, kind in enumerate((conversion.forward, conversion.backward)):
            if kind is not None:
                key = (node.attrs["axis"], kind, whole)
                before = counts.get(key, (0.0, 0.0))
                counts[key] = (before[0] + (side == 0), before[1] + (side == 1))
        return Work(moves=counts)

    def _inner_moves(self, body: str, node: Node) -> Work:
        """Collectives inside an op are over one number per row of its first input; rows of experts are counted.

        Of these as many move as if all experts were used evenly, an estimate.
        """
        if any(axis == "expert" for axis, _ in node.moves):
            return total(self._exchanged(node, axis, move) for axis, move in node.moves)
        first = self.plan.tensor(body, node.inputs[0])
        rows = self.elements(first) // max(1, self.number(first.shape[-1]) if first.shape else 1)
        counts = {(axis, move.kind, rows * WIDTH["fp32"]): (0.0, 0.0) for axis, move in node.moves}
        for axis, move in node.moves:
            key = (axis, move.kind, rows * WIDTH["fp32"])
            counts[key] = (counts[key][0] + 1, 0.0)
        return Work(moves=counts)

    def _exchanged(self, node: Node, axis: str, move: Move) -> Work:
        width = WIDTH[node.dtypes[0] if move.format == "value" else move.format]
        key = (axis, move.kind, self.number(move.forward) * width)
        return Work(moves={key: (1.0, 1.0 if move.backward else 0.0)})


def _joined(plan: Plan, body: str, nodes: list[Node]) -> list[list[Node]]:
    """Nodes that hand values to each other, through views too."""
    graph = plan.graphs[body]
    group = {node.name: node.name for node in nodes}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    def sources(name: str) -> Iterable[str]:
        for source in graph.predecessors(name):
            if source in group:
                yield source
            elif graph.nodes[source]["node"].op in VIEWS and graph.nodes[source]["node"].op != "input":
                yield from sources(source)

    for node in nodes:
        for source in sources(node.name):
            group[root(node.name)] = root(source)
    members: dict[str, list[Node]] = {}
    for node in nodes:
        members.setdefault(root(node.name), []).append(node)
    return list(members.values())
