"""What a run computes with: its precision, and the processor as far as results depend on it."""

from types import SimpleNamespace

import pytest
import torch

from microseg.common.errors import InputError
from microseg.network import environment
from microseg.network.devices import start
from microseg.network.environment import allow_tf32, kernels, precision_of, processor_name, resolve_precision

ZEN_4 = "fpu avx2 avx512f avx512_bf16 fma"


@pytest.fixture
def cpu_info(tmp_path, monkeypatch):
    def write(vendor: str = "AuthenticAMD", flags: str = ZEN_4) -> None:
        text = f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: Some CPU 9\nflags\t\t: {flags}\n"
        (tmp_path / "cpuinfo").write_text(text + "\n" + text.replace("CPU 9", "CPU 1"))

    monkeypatch.setattr(environment, "CPU_INFO", tmp_path / "cpuinfo")
    for name in environment.KERNEL_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    write()
    return write


@pytest.mark.usefixtures("cpu_info")
def test_the_name_of_the_processor_is_that_of_the_system():
    assert processor_name() == "Some CPU 9"


@pytest.mark.parametrize(
    "other",
    [("AuthenticAMD", "fpu avx2 fma"), ("AuthenticAMD", f"{ZEN_4} amx_bf16 amx_tile"), ("GenuineIntel", ZEN_4)],
    ids=str,
)
def test_processors_with_different_kernels_differ(cpu_info, other):
    before = kernels()
    cpu_info(*other)
    assert kernels() != before


def test_flags_that_choose_no_kernels_do_not_count(cpu_info):
    before = kernels()
    cpu_info(flags="avx512_bf16 fma avx2 avx512f tsc pae")
    assert kernels() == before


@pytest.mark.usefixtures("cpu_info")
@pytest.mark.parametrize("variable", environment.KERNEL_VARIABLES)
def test_a_limit_in_the_environment_counts(monkeypatch, variable):
    before = kernels()
    monkeypatch.setenv(variable, "AVX2")
    assert kernels() == f"{before} {variable}=AVX2"


def test_a_system_that_reports_nothing_has_names_too(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "CPU_INFO", tmp_path / "missing")
    assert processor_name()
    assert kernels()


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("fpu avx2 avx512f", "float32"), ("avx512f avx512_bf16 fma", "bf16"), ("amx_bf16", "bf16"), ("", "float32")],
)
def test_auto_is_bf16_where_the_processor_has_instructions_for_it(tmp_path, monkeypatch, flags, precision):
    info = tmp_path / "cpuinfo"
    info.write_text(f"model name : any\nflags : {flags}\n")
    monkeypatch.setattr(environment, "CPU_INFO", info)
    assert resolve_precision("auto", "cpu") == precision


def test_auto_is_float32_where_the_system_does_not_say(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "CPU_INFO", tmp_path / "missing")
    assert resolve_precision("auto", "cpu") == "float32"


# A100, T4, V100 and P100: the last one is no faster with fp16.
@pytest.mark.parametrize(
    ("native", "capability", "precision"),
    [(True, (8, 0), "bf16"), (False, (7, 5), "fp16"), (False, (7, 0), "fp16"), (False, (6, 0), "float32")],
)
def test_auto_is_fp16_where_a_gpu_only_emulates_bf16(monkeypatch, native, capability, precision):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert resolve_precision("auto", "cuda") == precision


def test_an_explicit_precision_is_used():
    for name in ("float32", "tf32", "bf16", "fp16"):
        assert resolve_precision(name, "cuda") == name  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_a_precision_of_gpus_is_refused_on_a_cpu(precision):
    with pytest.raises(InputError, match=rf"train\.precision: {precision} is for GPUs only"):
        start("cpu", precision)


def test_float32_is_not_rounded_to_tf32():
    allow_tf32(True)
    assert precision_of(start("cpu", "float32")) == "float32"
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize(("fabrics", "tf32", "name"), [
    ("32-true", False, "float32"), ("32-true", True, "tf32"),
    ("bf16-mixed", True, "bf16"), ("16-mixed", False, "fp16"),
])  # fmt: skip
def test_the_precision_in_use_has_a_name(monkeypatch, fabrics, tf32, name):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
    strategy = SimpleNamespace(precision=SimpleNamespace(precision=fabrics))
    fabric = SimpleNamespace(strategy=strategy, device=torch.device("cuda"))
    assert precision_of(fabric) == name  # type: ignore[arg-type]
