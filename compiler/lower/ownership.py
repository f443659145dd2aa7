"""Who owns which parameters: labels, which are checkpoint keys, and sharing."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ...dsl.ast import Call, Name
from ...dsl.diagnostics import Fix, Label
from ...dsl.source import Span
from ..node import Body, Node, Parameter
from .report import similar
from .scope import Scope
from .values import key

if TYPE_CHECKING:
    from .state import State

# fmt: off
MODULE_ATTRIBUTES: Final = frozenset((
    "T_destination", "add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "compile", "cpu",
    "cuda", "double", "dump_patches", "eval", "extra_repr", "float", "forward", "get_buffer", "get_extra_state",
    "get_parameter", "get_submodule", "half", "initialize", "ipu", "load_state_dict", "modules", "mtia",
    "named_buffers", "named_children", "named_modules", "named_parameters", "objectives", "parameters",
    "register_backward_hook", "register_buffer", "register_forward_hook", "register_forward_pre_hook",
    "register_full_backward_hook", "register_full_backward_pre_hook", "register_load_state_dict_post_hook",
    "register_load_state_dict_pre_hook", "register_module", "register_parameter", "register_state_dict_post_hook",
    "register_state_dict_pre_hook", "requires_grad_", "set_extra_state", "set_submodule", "share_memory",
    "state_dict", "to", "to_empty", "train", "training", "type", "xpu", "zero_grad",
))
# fmt: on
"""What a torch module has already: a part of that name would replace it."""

UP: Final = "^"
"""In `Node.share`: the body that repeats this one."""
MOST: Final = 10_000
"""Parameters that two differing blocks may have when they are compared by name."""


@dataclass(frozen=True)
class Owner:
    """What a call would own: the parameters of an op, or all of a body; `attrs` tell equal ops apart."""

    name: str
    attrs: Mapping[str, Any] | None
    body: str | None
    parameters: tuple[Parameter, ...] = ()
    owns: bool = False


@dataclass(frozen=True)
class Claim:
    """Label and share of a node: a share without a label uses the other call as it is; with one it ties parameters."""

    label: str | None = None
    share: tuple[str, ...] | None = None


def claim(state: State, scope: Scope, call: Call, owner: Owner) -> Claim | None:
    """Label and share of a call; None after an error."""
    if call.share is not None:
        return _share(state, scope, call, call.share, owner)
    if not owner.owns:
        return Claim()
    label = call.label or call.function.path[-1]
    place = call.label_span or call.function.span
    return Claim(label) if register(state, scope, label, place, call) else None


def register(state: State, scope: Scope, label: str, place: Span, call: Call | None = None) -> bool:
    """Takes a label for parameters of this body; False after an error."""
    if not usable(label):
        message = f"`{label}` cannot name parameters: a torch module has an attribute of that name"
        if not label.isidentifier() or keyword.iskeyword(label) or label.startswith("_"):
            message = f"`{label}` cannot name parameters: it would not be a public Python attribute"
        fix = Fix(place, f"{label.strip('_')}_") if call is None or call.label is not None else None
        state.report.error("E0513", message, place, f"name it otherwise: as {label.strip('_')}_", fix=fix)
        return False
    if label in scope.owned:
        first = Label(scope.owned[label], f"`{label}` here too")
        message = f"two calls with parameters are labelled `{label}` in `{scope.owner}`"
        fresh = _fresh(scope, label)
        help = f"give one of them a name of its own: as {fresh}"
        state.report.error("E0512", message, place, help, (first,), _label_fix(call, place, fresh))
        return False
    scope.owned[label] = place
    if call is None or call.label is not None:
        scope.explicit.add(label)
    return True


def usable(label: str) -> bool:
    """Whether a label can be an attribute of a torch module."""
    public = label.isidentifier() and label.isascii() and not label.startswith("_") and not keyword.iskeyword(label)
    return public and label not in MODULE_ATTRIBUTES


def _fresh(scope: Scope, label: str) -> str:
    number = 2
    while f"{label}_{number}" in scope.owned:
        number += 1
    return f"{label}_{number}"


def _label_fix(call: Call | None, place: Span, fresh: str) -> Fix | None:
    if call is None or call.label_span is not None:
        return Fix(place, fresh)
    return Fix(call.span, f"{call.span.text} as {fresh}")


def _share(state: State, scope: Scope, call: Call, path: Name, owner: Owner) -> Claim | None:
    if not owner.owns:
        message = f"`{owner.name}` has no parameters that could be shared"
        state.report.error("E0515", message, path.span, "remove `share`")
        return None
    found = _find(state, scope, path)
    if found is None:
        return None
    steps, node = found
    if _same(node, owner):
        return Claim(None, steps)
    fault = _tie_fault(state, node, owner, path.text)
    if fault is not None:
        state.report.error("E0515", fault, path.span, labels=(Label(node.span, f"`{path.text}` is this call"),))
        return None
    label = call.label or call.function.path[-1]
    return Claim(label, steps) if register(state, scope, label, call.label_span or call.function.span, call) else None


def _same(node: Node, owner: Owner) -> bool:
    if owner.body is not None:
        return node.body == owner.body and node.op == "call"
    if node.op == "extern":
        return bool(node.attrs["name"] == owner.name and node.attrs["arguments"] == owner.attrs)
    same_op = node.op == owner.name and node.parameters == owner.parameters
    return same_op and {n: key(v) for n, v in node.attrs.items()} == {n: key(v) for n, v in (owner.attrs or {}).items()}


def _tie_fault(state: State, node: Node, owner: Owner, path: str) -> str | None:
    theirs = flat(state.bodies, node.parameters, node.body)
    ours = flat(state.bodies, owner.parameters, owner.body)
    if theirs is None or ours is None:
        return f"`{owner.name}` and `{path}` are too large to be compared parameter by parameter"
    common = [name for name in ours if name in theirs]
    for name in common:
        if ours[name].shape != theirs[name].shape:
            a, b = (_shape(parameters[name]) for parameters in (ours, theirs))
            return f"`{name}` of `{owner.name}` is {a}, but that of `{path}` is {b}"
    if not common or (owner.body is not None and set(ours) != set(theirs)):
        return f"`{owner.name}` has {_listed(ours)}, but `{path}` has {_listed(theirs)}"
    return None


def _shape(parameter: Parameter) -> str:
    return "[" + ", ".join(str(d) for d in parameter.shape) + "]"


def _listed(names: Mapping[str, Parameter]) -> str:
    some = ", ".join(f"`{name}`" for name in list(names)[:4])
    return f"{some} ..." if len(names) > 4 else some or "no parameters"


def flat(bodies: Mapping[str, Body], own: tuple[Parameter, ...], body: str | None) -> dict[str, Parameter] | None:
    """Parameters by their path inside a call, `*` for the iterations of a repeat; None where there are too many."""
    found = {parameter.name: parameter for parameter in own}
    for node in bodies[body].nodes if body is not None else ():
        if node.label is None:
            continue
        inner = flat(bodies, node.parameters, node.body)
        prefix = f"{node.label}.*." if node.op == "repeat" else f"{node.label}."
        if inner is None or len(found) + len(inner) > MOST:
            return None
        found |= {prefix + name: parameter for name, parameter in inner.items()}
    return found


def _find(state: State, scope: Scope, path: Name) -> tuple[tuple[str, ...], Node] | None:
    """The node of a label path, and the steps to it from the body of the scope."""
    at: Scope | None = scope
    ups: tuple[str, ...] = ()
    known: list[str] = []
    while at is not None:
        if path.path[0] in at.labelled:
            node = _descend(state, at.labelled[path.path[0]], path)
            return ((*ups, *path.path), node) if node is not None else None
        known += at.labelled
        at, ups = at.parent, (*ups, UP)
    message = f"no call before this one is labelled `{path.path[0]}` in `{scope.root.owner}`"
    help = similar(path.path[0], known, "label") or (f"labels here: {', '.join(known)}" if known else None)
    state.report.error("E0514", message, path.span, help)
    return None


def _descend(state: State, node: Node, path: Name) -> Node | None:
    parts = list(path.path[1:])
    walked = path.path[0]
    while parts or node.op == "repeat":
        if node.op == "repeat":
            fault = _iteration_fault(node, walked, parts)
            if fault is not None:
                state.report.error("E0514", fault, path.span, f"for example {walked}.0.{_some_label(state, node)}")
                return None
            walked = f"{walked}.{parts.pop(0)}"
        part = parts.pop(0)
        inner = {n.label: n for n in state.bodies[node.body].nodes if n.label} if node.body else {}
        if part not in inner:
            help = similar(part, (name for name in inner if name), "label")
            state.report.error("E0514", f"`{walked}` has no part labelled `{part}`", path.span, help)
            return None
        walked, node = f"{walked}.{part}", inner[part]
    return node


def _iteration_fault(node: Node, walked: str, parts: list[str]) -> str | None:
    if not parts or not parts[0].isdigit():
        return f"`{walked}` is a repeat: the number of an iteration comes next"
    if int(parts[0]) >= node.count:
        return f"`{walked}` has the iterations 0 to {node.count - 1}, not {parts[0]}"
    return f"`{walked}.{parts[0]}` is a whole iteration, not a call" if len(parts) == 1 else None


def _some_label(state: State, node: Node) -> str:
    assert node.body is not None
    return next((n.label for n in state.bodies[node.body].nodes if n.label), "label")
