"""What a result was computed with, as far as a reader needs it to judge whether two results are comparable."""

import hashlib
import platform
from importlib.metadata import version

import torch
from lightning_fabric import Fabric

from microseg.network.card import Provenance
from microseg.network.devices import precision_of
from microseg.network.processor import kernels, processor_name

LIBRARIES = ("lightning-fabric", "numpy", "scipy")
"""Those, beside torch, whose versions have a part in the weights."""


def provenance(fabric: Fabric) -> Provenance:
    """Return what this run computes with."""
    versions = {"python": platform.python_version(), **library_versions()}
    return Provenance(
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
