"""What a run computes with: precision, processor, and the versions of the libraries."""

import hashlib
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from lightning_fabric import Fabric

from microseg.common.errors import InputError
from microseg.network.model_card import Environment

Precision = Literal["auto", "float32", "tf32", "bf16", "fp16"]

FABRIC_PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "float32": "32-true",
    "tf32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}

# The first GPUs with units for products of matrices of fp16 (Volta: V100, then T4); older ones gain nothing by it.
FP16_CAPABILITY = (7, 0)

CPU_INFO = Path("/proc/cpuinfo")

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})

KERNEL_FLAGS = re.compile(r"avx\w*|amx\w*|fma|f16c|sve\w*|bf16|i8mm")
"""The instruction sets that oneDNN and MKL choose their kernels by, as Linux names them."""

KERNEL_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
"""Environment variables that make these libraries leave instructions unused."""

WIDE = 32
"""Base channels from which on a training with AVX2 is slower with the channels of a pixel side by side."""


def resolve_precision(precision: Precision, accelerator: Literal["cpu", "cuda"]) -> str:
    """Return float32, tf32, bf16 or fp16.

    `auto` is bf16 where the device computes with it and does not imitate it, fp16 on GPUs that have that instead,
    and float32 elsewhere.
    """
    if precision in ("fp16", "tf32") and accelerator == "cpu":
        raise InputError(f"train.precision: {precision} is for GPUs only; set it to auto, bf16 or float32")
    if precision != "auto":
        return precision
    if accelerator == "cpu":
        return "bf16" if computes_in_bf16() else "float32"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "fp16" if torch.cuda.get_device_capability() >= FP16_CAPABILITY else "float32"


def allow_tf32(answer: bool) -> None:
    """Say whether GPUs round the factors of float32 products to 10 bits; in convolutions torch does so unasked."""
    torch.backends.cudnn.allow_tf32 = answer
    torch.backends.cuda.matmul.allow_tf32 = answer


def precision_of(fabric: Fabric) -> str:
    """Return the numbers that a run computes with: float32, tf32, bf16 or fp16."""
    used = fabric.strategy.precision.precision
    if used == FABRIC_PRECISION["tf32"] and fabric.device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        return "tf32"
    return next(name for name, fabrics in FABRIC_PRECISION.items() if fabrics == used)


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


LIBRARIES = ("lightning-fabric", "numpy", "scipy")
"""Those, beside torch, whose versions have a part in the weights."""


def current_environment(fabric: Fabric) -> Environment:
    """Return what this run computes with."""
    versions = {"python": platform.python_version(), **library_versions()}
    return Environment(
        accelerator=fabric.device.type,
        device=f"{fabric.world_size} x {device_name(fabric.device)}",
        precision=precision_of(fabric),
        libraries=", ".join(f"{name} {number}" for name, number in versions.items()),
    )


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that have a part in the weights; torch's says which build it is."""
    return {"torch": torch.__version__, **{name: version(name) for name in LIBRARIES}}


def device_name(device: torch.device) -> str:
    """Return a name that differs where results differ in the last bits."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    digest = hashlib.sha256(kernels().encode()).hexdigest()[:8]
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{processor_name()} ({capability}, {torch.get_num_threads()} threads, kernels {digest})"
