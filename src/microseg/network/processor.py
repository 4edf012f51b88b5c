"""What the processor of this machine is, as far as that decides how fast and with which rounding it computes."""

import os
import platform
import re
from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})

KERNEL_FLAGS = re.compile(r"avx\w*|amx\w*|fma|f16c|sve\w*|bf16|i8mm")
"""The instruction sets that oneDNN and MKL choose their kernels by, as Linux names them."""

KERNEL_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
"""Environment variables that make these libraries leave instructions unused."""

WIDE = 32
"""Base channels from which on a training with AVX2 is slower with the channels of a pixel side by side."""


def computes_in_bf16() -> bool:
    """Return whether the processor has instructions for bf16; False where the system does not say."""
    return bool(BF16_FLAGS & _flags())


def training_layout(base_channels: int, numbers: str, device: torch.device) -> torch.memory_format:
    """Return the order in memory in which our own U-Net is trained fastest.

    That is the one it is made with, the channels of a pixel side by side, but for float32 on processors with AVX2
    and no more. There oneDNN computes the gradients of weights in this order at a fraction of its speed. On two
    Zen 3 cores the fastest step takes 1.6 times as long with 32 base channels (256 x 256 pixels), twice as long
    with 64 (512 x 512), and with 16 hardly longer.

    Args:
        base_channels: how wide the network is.
        numbers: what it computes with, such as "float32".
        device: where it is trained.
    """
    only_avx2 = device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"
    by_channel = only_avx2 and numbers == "float32" and base_channels >= WIDE
    return torch.contiguous_format if by_channel else torch.channels_last


def processor_name() -> str:
    """Return the name of the processor as the system gives it, such as "AMD EPYC 9R14"."""
    return _field("model name") or platform.processor() or platform.machine()


def kernels() -> str:
    """Return what decides which kernels compute: machines that differ in it differ in the last bits of a result.

    PyTorch's own choice (AVX2 or AVX512) is too coarse: MKL tells vendors apart, and oneDNN has kernels of its own
    for bf16 and AMX. Systems that do not say what they have are described by their kind of machine alone.
    """
    flags = sorted(flag for flag in _flags() if KERNEL_FLAGS.fullmatch(flag))
    limits = [f"{name}={os.environ[name]}" for name in KERNEL_VARIABLES if name in os.environ]
    known = [_field("vendor_id"), torch.backends.cpu.get_cpu_capability(), *flags, *limits]
    return " ".join([platform.machine(), *filter(None, known)])


def _flags() -> set[str]:
    return set((_field("flags") or _field("Features")).split())


def _field(name: str) -> str:
    """Return the first value of a field of /proc/cpuinfo, "" where there is none."""
    text = CPU_INFO.read_text(encoding="utf-8") if CPU_INFO.is_file() else ""
    found = re.search(rf"^{name}\s*:(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
