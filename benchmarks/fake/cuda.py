"""A CUDA device that holds nothing: PyTorch built for CPUs runs a program's fake tensors on it, autograd included.

Fake tensors have a device without its memory, but autograd and autocast ask the back end for streams, which only a
CUDA build has. `install` gives the answers of one idle GPU; call it before torch is imported. What kernels a GPU
would choose for attention is decided as torch decides it (`sdp_utils.cpp`), since that code is in CUDA builds only.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SOURCE = r"""
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
namespace {
const c10::Device device(c10::DeviceType::CUDA, 0);
const c10::Stream stream(c10::Stream::DEFAULT, device);
struct Guard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> {
  c10::Device getDevice() const override { return device; }
  c10::Device exchangeDevice(c10::Device) const override { return device; }
  c10::Stream getStream(c10::Device) const noexcept override { return stream; }
  c10::Stream getNewStream(c10::Device, int = 0) const override { return stream; }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return stream; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard);
struct CUDAHooks : at::CUDAHooksInterface {
  CUDAHooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isAvailable() const override { return true; }
  bool isBuilt() const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
};
using at::CUDAHooksRegistry;
using at::RegistererCUDAHooksRegistry;
REGISTER_CUDA_HOOKS(CUDAHooks);
}
"""


def install() -> None:
    """Makes the device known to torch, which must not be loaded yet."""
    assert "torch" not in sys.modules, "the device has to be there before torch"
    found = importlib.util.find_spec("torch")
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent
    for name in ("libc10.so", "libtorch_cpu.so"):
        ctypes.CDLL(str(folder / "lib" / name), mode=ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(_built(folder)))
    _patch()


def _built(torch_folder: Path) -> Path:
    version = (torch_folder / "version.py").read_text("utf-8")
    digest = hashlib.sha256((SOURCE + version + str(torch_folder)).encode()).hexdigest()[:16]
    library = Path(tempfile.gettempdir()) / f"dskc_fake_cuda_{digest}.so"
    if not library.exists():
        source = library.with_suffix(f".{id(library)}.cpp")
        made = source.with_suffix(".so")
        source.write_text(SOURCE)
        include = [f"-I{torch_folder}/include", f"-I{torch_folder}/include/torch/csrc/api/include"]
        linked = [f"-L{torch_folder}/lib", "-lc10", "-ltorch_cpu"]
        subprocess.run(
            ["g++", "-std=c++20", "-shared", "-fPIC", *include, str(source), *linked, "-o", str(made)], check=True
        )
        made.replace(library)
        source.unlink()
    return library


def _patch() -> None:
    import torch

    torch.cuda.amp.common.amp_definitely_not_available = lambda: False  # type: ignore[attr-defined]
    torch.cuda.is_bf16_supported = lambda *_: True  # type: ignore[assignment]
    torch.nn.functional.scaled_dot_product_attention = attention  # type: ignore[assignment]
    _patch_rms_norm()
    # With a kernel for the device, the dispatcher does not take the operator apart into its formula.
    library = torch.library.Library("aten", "IMPL")
    library.impl("silu_backward", lambda gradient, x: torch.empty_like(x), "CUDA")
    KEPT.append(library)


KEPT: list[Any] = []
"""Registrations live as long as their object."""


def _patch_rms_norm() -> None:
    """The fused kernel of CUDA builds (`_fused_rms_norm`) saves its input and one number per row."""
    import torch

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any) -> Any:
            ctx.save_for_backward(x, weight, x.new_empty((*x.shape[:-1], 1), dtype=torch.float32))
            return torch.empty_like(x)

        @staticmethod
        def backward(ctx: Any, _gradient: Any) -> Any:
            x, weight, _ = ctx.saved_tensors
            return torch.empty_like(x), torch.empty_like(weight)

    plain = torch.nn.functional.rms_norm

    def rms_norm(x: Any, shape: Any, weight: Any = None, eps: float | None = None) -> Any:
        if weight is None or weight.dtype != x.dtype:
            return plain(x, shape, weight, eps)
        return Fused.apply(x, weight)  # type: ignore[no-untyped-call]

    torch.nn.functional.rms_norm = rms_norm


def attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """The kernel that a GPU of compute capability 8 or 9 runs: flash, memory-efficient, or plain products."""
    import torch

    if torch.is_autocast_enabled("cuda"):
        low = torch.get_autocast_dtype("cuda")
        query, key, value = (x.to(low) if x.is_floating_point() else x for x in (query, key, value))
        attn_mask = attn_mask.to(low) if attn_mask is not None and attn_mask.is_floating_point() else attn_mask
    aten = torch.ops.aten
    half = query.dtype in (torch.bfloat16, torch.float16)
    if half and attn_mask is None and query.shape[-1] == value.shape[-1] and query.shape[-1] % 8 == 0:
        return aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, False, scale=scale)[0]
    if query.shape[1] == key.shape[1]:
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(~attn_mask, float("-inf"))
        if attn_mask is not None:
            attn_mask = attn_mask.expand(*query.shape[:3], key.shape[2])
        return aten._scaled_dot_product_efficient_attention(
            query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale
        )[0]
    return aten._scaled_dot_product_attention_math(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )[0]
