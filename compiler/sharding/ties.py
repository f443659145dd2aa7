"""Parameters that several calls use: all of them have to hold it in the same way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..lower.ownership import UP
from ..node import Node
from ..plan import Plan

Site = tuple[str, str, str]
"""Body, node and parameter."""


@dataclass(frozen=True)
class Ties:
    """`groups` names the group of each tied parameter; `single` are bodies whose calls must all have the same types.

    `whole` are parameters of differing blocks that were tied name by name: they are not split.
    """

    groups: Mapping[Site, str]
    single: frozenset[str]
    whole: frozenset[Site]


def ties_of(plan: Plan) -> Ties:
    """The ties of a plan."""
    pairs: list[tuple[Site, Site]] = []
    single: set[str] = set()
    whole: set[Site] = set()
    for chain in chains(plan).values():
        for node in plan.nodes(chain[-1]):
            if node.share is None:
                continue
            body, target = shared(plan, chain, node.share)
            if node.body is None:
                names = {p.name for p in node.parameters} & {p.name for p in target.parameters}
                pairs += [((chain[-1], node.name, n), (body, target.name, n)) for n in sorted(names)]
            elif node.body == target.body:
                single.add(node.body)
            else:
                assert target.body is not None
                ours, theirs = dict(sites(plan, node.body)), dict(sites(plan, target.body))
                whole.update(site for n in ours if n in theirs for site in (ours[n], theirs[n]))
    return Ties(_groups(pairs), frozenset(single), frozenset(whole))


def chains(plan: Plan) -> dict[str, tuple[str, ...]]:
    """For each body, the bodies around one of its calls, outermost first, and itself."""
    found: dict[str, tuple[str, ...]] = {}

    def visit(chain: tuple[str, ...]) -> None:
        if chain[-1] not in found:
            found[chain[-1]] = chain
            for node in plan.nodes(chain[-1]):
                if node.body is not None:
                    visit((*chain, node.body))

    for root in plan.roots:
        visit((root,))
    return found


def shared(plan: Plan, chain: tuple[str, ...], share: tuple[str, ...]) -> tuple[str, Node]:
    """The body and node that a share names, from the last body of the chain."""
    ups = sum(step == UP for step in share)
    body = chain[len(chain) - 1 - ups]
    steps = [step for step in share[ups:] if not step.isdigit()]
    for step in steps[:-1]:
        inner = _labelled(plan, body, step).body
        assert inner is not None
        body = inner
    return body, _labelled(plan, body, steps[-1])


def _labelled(plan: Plan, body: str, label: str) -> Node:
    return next(node for node in plan.nodes(body) if node.label == label)


def sites(plan: Plan, body: str, prefix: str = "") -> Iterator[tuple[str, Site]]:
    """Parameters inside a body by their path."""
    for node in plan.nodes(body):
        if node.label is None:
            continue
        path = f"{prefix}{node.label}." + ("*." if node.op == "repeat" else "")
        yield from ((path + p.name, (body, node.name, p.name)) for p in node.parameters)
        if node.body is not None:
            yield from sites(plan, node.body, path)


def owned_sites(plan: Plan) -> Iterator[tuple[Site, str]]:
    """Every parameter once, where it is owned, with its path in the model."""
    seen: set[Site] = set()

    def visit(chain: tuple[str, ...], path: str) -> Iterator[tuple[Site, str]]:
        for node in plan.nodes(chain[-1]):
            if node.label is None:
                continue
            inner = f"{path}{node.label}." + ("*." if node.op == "repeat" else "")
            tied = frozenset[str]()
            if node.share is not None:
                _, target = shared(plan, chain, node.share)
                if node.body is not None:
                    continue
                tied = frozenset(p.name for p in target.parameters)
            for parameter in node.parameters:
                site = (chain[-1], node.name, parameter.name)
                if parameter.name not in tied and site not in seen:
                    seen.add(site)
                    yield site, inner + parameter.name
            if node.op == "extern" and (chain[-1], node.name, "*") not in seen:
                seen.add((chain[-1], node.name, "*"))
                yield (chain[-1], node.name, "*"), inner + "*"
            if node.body is not None:
                yield from visit((*chain, node.body), inner)

    for root in plan.roots:
        yield from visit((root,), "")


def _groups(pairs: list[tuple[Site, Site]]) -> dict[Site, str]:
    leader: dict[Site, Site] = {}

    def first(site: Site) -> Site:
        while leader.setdefault(site, site) != site:
            site = leader[site]
        return site

    for a, b in pairs:
        leader[first(a)] = first(b)
    return {site: ".".join(first(site)) for site in leader}
