"""The functions around a kernel of rows: its launches, the formulas in PyTorch, the op, and its place in autograd."""

from __future__ import annotations

from collections.abc import Sequence

from ..fusion.program import GRADIENT, Stored
from .expressions import statements
from .layout import assignment, bracketed, fits, indented
from .row_kernels import RESERVED, Rows

Lines = tuple[str, ...]


def functions(rows: Rows) -> dict[str, Lines]:
    """Lines of each function, by the field of the view."""
    return {
        "launch": launch(rows),
        "launch_gradient": launch_gradient(rows),
        "reference": reference(rows),
        "gradient": gradient(rows),
        "registration": registration(rows),
        "apply": apply(rows),
        "back": back(rows),
        "call": call(rows),
    }


def results(rows: Rows) -> list[Stored]:
    """What the forward op returns: the outputs, then rows for backward."""
    return [*rows.program.outputs, *rows.program.saved]


def narrowed(rows: Rows) -> list[str]:
    """Variables of the formats that the caller gives for outputs."""
    return [f"{rows.variable(e.name)}_format" for e in rows.program.outputs if e.name in rows.narrow]


def unread(rows: Rows) -> list[Stored]:
    """Gradients of inputs that backward is not given, whose format it has to be told."""
    return [each for each in rows.stored() if each.name.removeprefix(GRADIENT) not in rows.program.reads]


def _formats(rows: Rows) -> list[str]:
    return [f"{rows.variable(each.name.removeprefix(GRADIENT))}_format" for each in unread(rows)]


def _format(rows: Rows, each: Stored) -> str:
    """The format of a gradient."""
    variable = rows.variable(each.name.removeprefix(GRADIENT))
    return f"{variable}_format" if each in unread(rows) else f"{variable}.dtype"


def _stored_as(rows: Rows, name: str) -> str:
    """The format of an output: that of an input which the plan gives the same, else fp32."""
    if name in rows.narrow:
        return f"{rows.variable(name)}_format"
    return plain_format(rows, name)


def plain_format(rows: Rows, name: str) -> str:
    """The format of an output where it is not narrowed."""
    wanted = "fp32" if name in rows.narrow else rows.formats[name][1]
    same = (leaf for leaf in rows.program.inputs if leaf.kind == "tile" and rows.formats[leaf.name][1] == wanted)
    found = next(same, None)
    return f"{rows.variable(found.name)}.dtype" if found else f"tiles.wide({rows.tall()})"


def _typed(names: Sequence[str], formats: Sequence[str] = ()) -> list[str]:
    return [*(f"{name}: Tensor" for name in names), *(f"{name}: torch.dtype" for name in formats)]


def _gives(count: int) -> str:
    return "Tensor" if count == 1 else f"tuple[{', '.join(['Tensor'] * count)}]"


def _head(name: str, arguments: Sequence[str], count: int) -> list[str]:
    return bracketed(f"def {name}(", arguments, f") -> {_gives(count)}:")


def _call(function: str, arguments: Sequence[str]) -> list[str]:
    """A call as an item of a longer `return`."""
    return bracketed(f"{function}(", arguments, ")", 8)


def _returned(texts: Sequence[str] | Sequence[list[str]]) -> list[str]:
    items = [[text] if isinstance(text, str) else text for text in texts]
    if len(items) == 1 and len(items[0]) > 1:
        return [f"return {items[0][0]}", *items[0][1:]]
    line = f"return {', '.join(item[0] for item in items)}"
    if all(len(item) == 1 for item in items) and fits(line, 4):
        return [line]
    rows = [line for item in items for line in (*item[:-1], f"{item[-1]},")]
    return ["return (", *indented(rows), ")"]


def _grid(rows: Rows, reads: Sequence[tuple[str, str]], writes: Sequence[str], kernel: str, first: str) -> list[str]:
    """Turns tensors into rows and starts a kernel."""
    tall = [name for name, kind in reads if kind == "tile"]
    flat = [f"{name} = tiles.rows({name}, {rows.columns})" for name in tall]
    flat += [f"{name} = {name}.contiguous()" for name, kind in reads if kind != "tile"]
    arguments = [*(name for name, _ in reads), *writes, *(f"{name}.stride(0)" for name in tall), "rows"]
    arguments += [f"COLUMNS={rows.columns}", "ROWS=tile.rows", f"BLOCK={rows.block}"]
    arguments += [f"WIDE=tiles.precise({reads[0][0]})", "num_warps=tile.warps"]
    start = bracketed(f"{kernel}[({first}, {rows.blocks})](", arguments, ")", 8)
    return [*flat, f"with tiles.on({reads[0][0]}.device):", *indented(start)]


def launch(rows: Rows) -> Lines:
    """Starts the forward kernel."""
    tall = rows.tall()
    head = _head(f"_launch_{rows.name}", _typed(rows.given(), narrowed(rows)), len(results(rows)))
    lines = []
    for each in results(rows):
        kind = _stored_as(rows, each.name) if each in rows.program.outputs else f"tiles.wide({tall})"
        shape = f"{tall}.shape" if each.kind == "tile" else f"(*{tall}.shape[:-1], 1)"
        text = f"torch.empty({shape}, dtype={kind}, device={tall}.device)"
        lines += assignment(f"{rows.variable(each.name)} = ", text, 4)
    lines += _counted(rows, f"{tall}.numel() // {rows.columns}", tall)
    reads = [(rows.variable(leaf.name), leaf.kind) for leaf in rows.program.inputs]
    writes = [rows.variable(each.name) for each in results(rows)]
    lines += _grid(rows, reads, writes, f"{rows.name}_forward", "triton.cdiv(rows, tile.rows)")
    return (*head, *indented([*lines, *_returned(writes)]))


def _counted(rows: Rows, count: str, device: str) -> list[str]:
    return [f"rows = {count}", f"tile = tiles.tile({rows.name.upper()}, {device}.device)"]


def launch_gradient(rows: Rows) -> Lines:
    """Starts the backward kernel; the parts of a vector's gradient are summed after it."""
    program, stored = rows.program, rows.stored()
    incoming = [rows.variable(name) for name in program.incoming]
    kinds = {each.name: each.kind for each in (*program.outputs, *program.saved)}
    kinds |= {leaf.name: leaf.kind for leaf in program.inputs}
    head = _head(f"_launch_{rows.name}_gradient", _typed([*rows.kept(), *incoming], _formats(rows)), len(stored))
    first = incoming[0]
    lines = [f"shape = (*{first}.shape[:-1], {rows.columns})"]
    lines += _counted(rows, f"{first}.numel() // {first}.shape[-1]", first)
    grid = "triton.cdiv(rows, tile.rows)"
    if program.vectors:
        lines.append(f"programs = tiles.programs({first}.device, {grid})")
        grid = "programs"
    ends = []
    for each in stored:
        name, kind = rows.variable(each.name), _format(rows, each)
        shape = {"tile": "shape", "row": "(*shape[:-1], 1)"}.get(each.kind, f"(programs, {rows.columns})")
        dtype = f"tiles.wide({first})" if each.kind == "vector" else kind
        lines += assignment(f"{name} = ", f"torch.empty({shape}, dtype={dtype}, device={first}.device)", 4)
        ends.append(f"{name}.sum(0).to({kind})" if each.kind == "vector" else name)
    reads = [(rows.variable(name), kinds[name]) for name in program.loads]
    reads += [(rows.variable(name), kinds[name.removeprefix(GRADIENT)]) for name in program.incoming]
    lines += _grid(rows, reads, [rows.variable(each.name) for each in stored], f"{rows.name}_backward", grid)
    return (*head, *indented([*lines, *_returned(ends)]))


def _widened(names: Sequence[str]) -> list[str]:
    if len(names) == 1:
        return [f"{names[0]} = {names[0]}.to(wide)"]
    joined = ", ".join(names)
    return assignment(f"{joined} = ", f"(each.to(wide) for each in ({joined}))", 4)


def reference(rows: Rows) -> Lines:
    """Forward in PyTorch."""
    program = rows.program
    variables = {leaf.name: rows.variable(leaf.name) for leaf in program.inputs}
    formats = {each.name: f"{rows.variable(each.name)}_format" for each in program.outputs}
    head = _head(f"_{rows.name}", _typed(rows.given(), narrowed(rows)), len(results(rows)))
    lines = [f"wide = tiles.wide({rows.tall()})", f"shape = {rows.tall()}.shape"]
    lines += [f"{formats[e.name]} = {plain_format(rows, e.name)}" for e in program.outputs if e.name not in rows.narrow]
    lines += _widened(rows.given())
    taken = {*RESERVED, *formats.values()}
    body, texts = statements(
        [e.value for e in results(rows)], variables, program.made.names, formats, taken, triton=False
    )
    shapes = {"tile": "shape", "row": "torch.Size((*shape[:-1], 1))"}
    ends = [
        _call("tiles.kept", [text, shapes[each.kind], formats.get(each.name, "wide")])
        for each, text in zip(results(rows), texts, strict=True)
    ]
    return (*head, *indented([*lines, *body, *_returned(ends)]))


def gradient(rows: Rows) -> Lines:
    """Backward in PyTorch, from inputs and outputs alone, so that it has a gradient itself."""
    program = rows.program
    stored = {each.name: each for each in rows.stored()}
    wanted = [each for each in program.whole if each.name in stored]
    incoming = [rows.variable(name) for name in program.incoming]
    read = [rows.variable(name) for name in program.reads]
    variables = {name: rows.variable(name) for name in (*program.reads, *program.incoming)}
    formats = _formats(rows)
    head = _head(f"_{rows.name}_gradient", _typed([*rows.kept(), *incoming], formats), len(wanted))
    first = incoming[0]
    lines = [f"wide = tiles.wide({first})", f"shape = torch.Size((*{first}.shape[:-1], {rows.columns}))"]
    known = [e for e in wanted if e not in unread(rows) and e.name in stored and _format(rows, e).endswith(".dtype")]
    names = {e.name: f"{rows.variable(e.name.removeprefix(GRADIENT))}_format" for e in wanted}
    lines += [f"{names[e.name]} = {_format(rows, stored[e.name])}" for e in known if stored[e.name] not in unread(rows)]
    lines += _widened([*read, *incoming])
    taken = {*RESERVED, *names.values()}
    body, texts = statements([e.value for e in wanted], variables, program.made.names, {}, taken, triton=False)
    ends = []
    for each, text in zip(wanted, texts, strict=True):
        text = f"{first}.new_tensor({text})" if each.value.kind == "number" else text
        shape = "torch.Size((*shape[:-1], 1))" if each.kind == "row" else "shape"
        ends.append(_call(f"tiles.{'summed' if each.kind == 'vector' else 'kept'}", [text, shape, names[each.name]]))
    return (*head, *indented([*lines, *body, *_returned(ends)]))


def registration(rows: Rows) -> Lines:
    """The two ops."""
    forward = [*(f"Tensor {name}" for name in rows.given()), *(f"ScalarType {name}" for name in narrowed(rows))]
    incoming = [rows.variable(name) for name in rows.program.incoming]
    backward = [*(f"Tensor {name}" for name in (*rows.kept(), *incoming))]
    backward += [f"ScalarType {name}" for name in _formats(rows)]
    return (
        *_registered(rows.name, rows.name.upper() + "_OP", forward, len(results(rows))),
        *_registered(f"{rows.name}_gradient", rows.name.upper() + "_GRADIENT_OP", backward, len(rows.stored())),
    )


def _registered(name: str, constant: str, arguments: Sequence[str], count: int) -> list[str]:
    gives = "Tensor" if count == 1 else f"({', '.join(['Tensor'] * count)})"
    text = f"{name}({', '.join(arguments)}) -> {gives}"
    functions = [f"_launch_{name}", f"_{name}"]
    if fits(f'    "{text}",', 0):
        return bracketed(f"{constant} = tiles.register(", ["SPACE", f'"{text}"', *functions], ")")
    parts = [f'    "{part}"' for part in wrapped(text, 88)]
    return [
        f"{constant} = tiles.register(",
        "    SPACE,",
        *parts[:-1],
        f"{parts[-1]},",
        *(f"    {f}," for f in functions),
        ")",
    ]


def wrapped(text: str, width: int) -> list[str]:
    """The text in parts that end after a space, none longer than `width` unless it is one word."""
    parts = [""]
    for word in text.split(" "):
        if parts[-1] and len(parts[-1]) + len(word) > width:
            parts.append("")
        parts[-1] += f"{word} "
    return [*parts[:-1], parts[-1].rstrip()]


def apply(rows: Rows) -> Lines:
    """`forward` of the autograd function."""
    given = [*rows.given(), *narrowed(rows)]
    outputs = [rows.variable(each.name) for each in rows.program.outputs]
    made = [rows.variable(each.name) for each in results(rows)]
    head = bracketed(
        "def forward(", ["ctx: Any", *_typed(rows.given(), narrowed(rows))], f") -> {_gives(len(outputs))}:", 4
    )
    lines = assignment(f"{', '.join(made)} = ", f"{rows.name.upper()}_OP({', '.join(given)})", 8)
    lines.append(f"ctx.save_for_backward({', '.join(rows.kept())})")
    if unread(rows):
        dtypes = [f"{rows.variable(e.name.removeprefix(GRADIENT))}.dtype" for e in unread(rows)]
        lines.append(f"ctx.formats = ({', '.join(dtypes)}{',' if len(dtypes) == 1 else ''})")
    return (*head, *indented([*lines, f"return {', '.join(outputs)}"]))


def back(rows: Rows) -> Lines:
    """`backward` of the autograd function."""
    incoming = [rows.variable(name) for name in rows.program.incoming]
    stored = [rows.variable(each.name) for each in rows.stored()]
    count = len(rows.given()) + len(narrowed(rows))
    head = bracketed("def backward(", ["ctx: Any", *_typed(incoming)], ") -> tuple[Tensor | None, ...]:", 4)
    constant = f"{rows.name.upper()}_GRADIENT_OP"
    arguments = ["*ctx.saved_tensors", *incoming, *(["*ctx.formats"] if unread(rows) else [])]
    lines = ["# With create_graph=True, formulas that have a gradient themselves."]
    lines += assignment("run = ", f"_{rows.name}_gradient if torch.is_grad_enabled() else {constant}", 8)
    lines += assignment(f"{', '.join(stored)} = ", f"run({', '.join(arguments)})", 8)
    ends = [rows.source(each) for each in rows.program.gradients]
    ends += ["None"] * (count - len(ends))
    ending = f"return {', '.join(ends)}" + ("," if len(ends) == 1 else "")
    return (*head, *indented([*lines, ending]))


def call(rows: Rows) -> Lines:
    """The function that the model calls."""
    outputs = rows.program.outputs
    head = _head(rows.name, _typed(rows.given()), len(outputs))
    tall = rows.tall()
    low = [f"tiles.low({plain_format(rows, e.name)}, {tall})" for e in outputs if e.name in rows.narrow]
    from .text import class_name

    lines = assignment("return ", f"{class_name(rows.name)}.apply({', '.join([*rows.given(), *low])})", 4)
    return (*head, *indented(lines))
