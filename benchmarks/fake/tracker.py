"""Counts the bytes of all storages on the device."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tracker(TorchDispatchMode):
    """Bytes of all storages that were made inside and are alive; `peak` is the most of them, `at` the op then."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.at, self.looks = "", True
        self.known: weakref.WeakKeyDictionary[Any, list[int]] = weakref.WeakKeyDictionary()
        self.log: list[tuple[str, int]] = []
        self.held: dict[str, int] = {}
        self.kinds: dict[str, Any] = {}

    @contextmanager
    def away(self) -> Iterator[None]:
        """Counts nothing that is made inside."""
        self.looks = False
        yield
        self.looks = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # it comes back as operations on its parts
        if func is torch.ops.aten._fused_sgd_.default:  # works in place, and has no fake kernel
            return None
        try:
            result = func(*args, **(kwargs or {}))
        except AssertionError as error:
            raise RuntimeError(f"{func} has no fake kernel") from error
        for leaf in tree_leaves(result) if self.looks else ():
            if isinstance(leaf, torch.Tensor) and leaf.device.type == "cuda":
                self.add(leaf.untyped_storage())
        if not str(func).startswith("prim"):
            self.note(str(func))
        return result

    def note(self, what: str) -> None:
        self.log.append((what, self.now))
        if self.now > self.peak:
            self.peak, self.at = self.now, f"{what} ({len(self.log)})"
            self.held = {name: sum(t.untyped_storage().nbytes() for t in f()) for name, f in self.kinds.items()}

    def add(self, storage: Any) -> None:
        if storage in self.known:
            return
        size = [storage.nbytes()]
        self.known[storage] = size
        self.now += size[0]
        weakref.finalize(storage, self.release, size)

    def release(self, size: list[int]) -> None:
        self.now -= size[0]

    def resized(self, storage: Any) -> None:
        """FSDP2 frees gathered parameters by giving their storages no bytes."""
        if storage in self.known:
            self.now += storage.nbytes() - self.known[storage][0]
            self.known[storage][0] = storage.nbytes()
            self.note("resize_")

    def watching(self) -> Any:
        """Follows storages whose size changes."""
        resize = torch.UntypedStorage.resize_

        def resize_(storage: Any, size: int) -> Any:
            result = resize(storage, size)
            self.resized(storage)
            return result

        return mock.patch.object(torch.UntypedStorage, "resize_", resize_)
