"""What a run computes with: precision, memory format, processor, and library versions."""

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
from microseg.common.params import Precision
from microseg.network.model_card import Environment

FABRIC_PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "float32": "32-true",
    "tf32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}

# The first GPUs with tensor cores (Volta: V100, then T4); fp16 does not make older ones faster.
FP16_CAPABILITY = (7, 0)

CPU_INFO = Path("/proc/cpuinfo")

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})

KERNEL_FLAGS = re.compile(r"avx\w*|amx\w*|fma|f16c|sve\w*|bf16|i8mm")
"""The instruction sets by which oneDNN and MKL choose their kernels, as Linux names them."""

KERNEL_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
"""Environment variables that restrict the instructions these libraries use."""

WIDE = 32
"""Base channels from which training with AVX2 is slower in the channels-last memory format."""


def resolve_precision(precision: Precision, accelerator: Literal["cpu", "cuda"]) -> str:
    """Return float32, tf32, bf16 or fp16; InputError where it is for GPUs only.

    `auto` is bf16 where the device supports it natively, fp16 on GPUs with tensor cores for that alone, and
    float32 elsewhere.
    """
    if precision in ("fp16", "tf32") and accelerator == "cpu":
        raise InputError(f"train.precision: {precision} is for GPUs only; set it to auto, bf16 or float32")
    if precision != "auto":
        return precision
    if accelerator == "cpu":
        return "bf16" if has_bf16_instructions() else "float32"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "fp16" if torch.cuda.get_device_capability() >= FP16_CAPABILITY else "float32"


def allow_tf32(allowed: bool) -> None:
    """Set whether GPUs round the factors of float32 products to 10 bits, torch's default in convolutions."""
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed


def precision_of(fabric: Fabric) -> str:
    """Return the precision of a run: float32, tf32, bf16 or fp16."""
    used = fabric.strategy.precision.precision
    if used == FABRIC_PRECISION["tf32"] and fabric.device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        return "tf32"
    return next(name for name, fabrics in FABRIC_PRECISION.items() if fabrics == used)


def has_bf16_instructions() -> bool:
    """Return whether the processor has instructions for bf16; False where the system does not say."""
    return bool(BF16_FLAGS & _flags())


def training_memory_format(base_channels: int, precision: str, device: torch.device) -> torch.memory_format:
    """Return the memory format in which the plain U-Net trains fastest.

    That is channels-last, in which it is built, except for float32 on processors with AVX2 and no AVX-512. There
    oneDNN computes the gradients of channels-last weights so slowly that on two Zen 3 cores the fastest step takes
    1.6 times as long with 32 base channels, twice as long with 64, and hardly longer with 16.
    """
    only_avx2 = device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"
    contiguous = only_avx2 and precision == "float32" and base_channels >= WIDE
    return torch.contiguous_format if contiguous else torch.channels_last


def processor_name() -> str:
    """Return the name of the processor as the system reports it, such as "AMD EPYC 9R14"."""
    return _field("model name") or platform.processor() or platform.machine()


def kernels() -> str:
    """Return what decides which kernels run: results of machines that differ in it differ in their last bits.

    PyTorch's own choice (AVX2 or AVX512) is too coarse: MKL distinguishes vendors, and oneDNN has separate kernels
    for bf16 and AMX.
    """
    flags = sorted(flag for flag in _flags() if KERNEL_FLAGS.fullmatch(flag))
    limits = [f"{name}={os.environ[name]}" for name in KERNEL_VARIABLES if name in os.environ]
    known = [_field("vendor_id"), torch.backends.cpu.get_cpu_capability(), *flags, *limits]
    return " ".join([platform.machine(), *filter(None, known)])


def _flags() -> set[str]:
    return set((_field("flags") or _field("Features")).split())


def _field(name: str) -> str:
    """Return the first value of a field of /proc/cpuinfo, or "" if there is none."""
    text = CPU_INFO.read_text(encoding="utf-8") if CPU_INFO.is_file() else ""
    found = re.search(rf"^{name}\s*:(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


LIBRARIES = ("lightning-fabric", "numpy", "scipy")
"""Libraries, beside torch, whose versions affect the weights."""


def current_environment(fabric: Fabric) -> Environment:
    """Return the environment of this run."""
    versions = {"python": platform.python_version(), **library_versions()}
    return Environment(
        accelerator=fabric.device.type,
        device=f"{fabric.world_size} x {device_name(fabric.device)}",
        precision=precision_of(fabric),
        libraries=", ".join(f"{name} {number}" for name, number in versions.items()),
    )


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that affect the weights; that of torch includes its build."""
    return {"torch": torch.__version__, **{name: version(name) for name in LIBRARIES}}


def device_name(device: torch.device) -> str:
    """Return a name that differs between devices whose results differ in their last bits."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    digest = hashlib.sha256(kernels().encode()).hexdigest()[:8]
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{processor_name()} ({capability}, {torch.get_num_threads()} threads, kernels {digest})"
