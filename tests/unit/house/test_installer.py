"""The installer refuses what can't work, and says how to repair it."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def installer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pivotrl_install", ROOT / "requirements" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_first_fitting_python_is_chosen(installer: ModuleType) -> None:
    broken = installer.Probe("python3.11", None, "", "pyenv: python3.11: command not found")
    old = installer.Probe("python3", (3, 9), "/usr/bin/python3", "")
    fits = installer.Probe("python3.12", (3, 12), "/usr/bin/python3.12", "")
    assert installer.choose_python([broken, old, fits]) is fits


def test_wrong_python_is_refused_with_the_fix(installer: ModuleType) -> None:
    probes = [
        installer.Probe("python3.11", None, "", "pyenv: python3.11: command not found"),
        installer.Probe("python3.12", None, "", "not found"),
        installer.Probe("python3", (3, 13), "/usr/bin/python3", ""),
    ]
    with pytest.raises(installer.InstallError) as caught:
        installer.choose_python(probes)
    assert str(caught.value) == (
        "this needs Python 3.11 or 3.12 with its venv module (python3.11: pyenv: python3.11: "
        "command not found, python3 is 3.13): install one (Debian: apt install python3.11-venv), or name it: "
        "make install PYTHON=/path/to/python3.11"
    )


def test_a_shim_that_exists_and_fails_is_not_a_python(installer: ModuleType, tmp_path: Path) -> None:
    shim = tmp_path / "python3.11"
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.11: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    found = installer.probe(str(shim))
    assert (found.version, found.problem) == (None, "pyenv: python3.11: command not found")
    assert installer.probe(str(tmp_path / "missing")).problem == "not found"


def test_this_python_is_recognised(installer: ModuleType) -> None:
    assert installer.probe(sys.executable).version == sys.version_info[:2]


def test_small_disk_is_refused_with_the_fix(installer: ModuleType) -> None:
    installer.check_disk(6_000_000_000, 6_000_000_000, Path("clone"))
    with pytest.raises(installer.InstallError) as caught:
        installer.check_disk(1_500_000_000, 6_000_000_000, Path("clone"))
    assert str(caught.value) == (
        "clone has 1.5 GB free, 6.0 GB are needed: free some, or clone the project onto a larger disk"
    )


def test_other_systems_are_refused(installer: ModuleType) -> None:
    installer.check_system("Linux")
    with pytest.raises(installer.InstallError, match="needs Linux, this is Darwin"):
        installer.check_system("Darwin")


def test_a_foreign_venv_is_left_alone(installer: ModuleType, tmp_path: Path) -> None:
    venv = tmp_path / ".venv"
    assert installer.read_stamp(venv) == {}
    venv.mkdir()
    assert installer.read_stamp(venv) == {}
    (venv / "pyvenv.cfg").write_text("home = somewhere\n")
    with pytest.raises(installer.InstallError, match="was not made by this installer: move it away"):
        installer.read_stamp(venv)


def test_stamp_survives_and_a_torn_one_counts_as_unfinished(installer: ModuleType, tmp_path: Path) -> None:
    installer.write_stamp(tmp_path, {"lock": "a", "project": "b", "place": "c"})
    assert installer.read_stamp(tmp_path) == {"lock": "a", "project": "b", "place": "c"}
    (tmp_path / installer.STAMP).write_text('{"lock": ')
    assert installer.read_stamp(tmp_path) == {}


def test_stamp_changes_with_lock_project_and_place(installer: ModuleType, tmp_path: Path) -> None:
    lock, project = tmp_path / "cpu.lock", tmp_path / "pyproject.toml"
    lock.write_text("rich==15.0.0\n")
    project.write_text("[project]\n")
    first = installer.wanted_stamp(lock, project, tmp_path / ".venv")
    lock.write_text("rich==15.0.1\n")
    second = installer.wanted_stamp(lock, project, tmp_path / "moved" / ".venv")
    assert {key for key in first if first[key] != second[key]} == {"lock", "place"}
    assert json.loads(json.dumps(first)) == first


@pytest.mark.parametrize(
    ("errors", "fix"),
    [
        (["No matching distribution found for torch==2.13.0+cpu"], "CPU build for python3.12: name an index or a fol"),
        (["No matching distribution found for torch==2.13.0+cpu"], "PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS"),
        (["Could not install packages: [Errno 28] No space left on device"], "free some disk"),
        ([], "see install.log"),
    ],
)
def test_pip_failure_names_the_fix(installer: ModuleType, errors: list[str], fix: str) -> None:
    message = installer.explain_pip_failure(errors, Path("install.log"), "python3.12")
    assert message.startswith("pip failed: ")
    assert fix in message
    assert "\n" not in message
