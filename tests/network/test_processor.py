import pytest

from microseg.network import environment
from microseg.network.environment import kernels, processor_name

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
def test_the_name_is_the_system_s():
    assert processor_name() == "Some CPU 9"


@pytest.mark.parametrize(
    "other",
    [("AuthenticAMD", "fpu avx2 fma"), ("AuthenticAMD", f"{ZEN_4} amx_bf16 amx_tile"), ("GenuineIntel", ZEN_4)],
    ids=str,
)
def test_processors_that_get_other_kernels_are_told_apart(cpu_info, other):
    before = kernels()
    cpu_info(*other)
    assert kernels() != before


def test_flags_without_a_part_in_the_computation_do_not_count(cpu_info):
    before = kernels()
    cpu_info(flags="avx512_bf16 fma avx2 avx512f tsc pae")
    assert kernels() == before


@pytest.mark.usefixtures("cpu_info")
@pytest.mark.parametrize("variable", environment.KERNEL_VARIABLES)
def test_a_limit_set_in_the_environment_counts(monkeypatch, variable):
    before = kernels()
    monkeypatch.setenv(variable, "AVX2")
    assert kernels() == f"{before} {variable}=AVX2"


def test_a_system_that_does_not_say_has_names_all_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "CPU_INFO", tmp_path / "missing")
    assert processor_name()
    assert kernels()
