"""In which precision a flow's matrix products run."""

from pathlib import Path

import torch

from flowlid.config import PRECISIONS

_CPU_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # of x86, and of arm64 (the last)


def has_bfloat16_units(device: torch.device) -> bool:
    """Whether products in bfloat16 are faster than in float32 there: by instructions of their own, not emulated.

    Only Linux says what a CPU can do; on other systems a CPU counts as one without.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not _onednn_takes_bfloat16():
        return False
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = {flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}
    return bool(flags & _CPU_FLAGS)


def _onednn_takes_bfloat16() -> bool:
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def resolve(name: str, device: torch.device) -> torch.dtype:
    """The type of the products for a configured precision: "auto" is bfloat16 where the device has units for it.

    Raises:
        ValueError: no such precision.
    """
    if name not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {name!r}")
    if name == "auto":
        name = "bfloat16" if has_bfloat16_units(device) else "float32"
    return getattr(torch, name)
