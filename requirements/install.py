"""Make `.venv`: a Python 3.11 or 3.12 environment with the pinned CPU stack and this project, editable.

Plain standard library, and syntax that an older Python 3 reads, so that a wrong Python gets an answer, not a
traceback. A finished `.venv` carries a stamp of what it was made from; with the same stamp nothing is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Iterator, NamedTuple, Sequence

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "cpu.lock"
VENV = ROOT / ".venv"
STAMP = "pivotrl-install.json"
SUPPORTED = ((3, 11), (3, 12))
NEEDED_BYTES = 6 * 10**9  # .venv 2.1 GB, pip's download cache and unpacking beside it, room for runs
PROBE_SOURCE = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2], sys.executable)"


class InstallError(Exception):
    """Something the user must change; the message is one line that names it and the fix."""


class Probe(NamedTuple):
    """What one Python command answered: its version, its executable, or why it can't be used."""

    command: str
    version: tuple[int, int] | None
    executable: str
    problem: str


def probe(command: str) -> Probe:
    """Ask a Python for its version. A pyenv shim can exist and fail, so finding the file isn't enough."""
    try:
        done = subprocess.run(
            [command, "-c", PROBE_SOURCE],
            capture_output=True,
            timeout=60,
            text=True,
        )
    except FileNotFoundError:
        return Probe(command, None, "", "not found")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Probe(command, None, "", type(error).__name__)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return Probe(command, None, "", lines[-1])
    version, executable = done.stdout.strip().split(" ", 1)
    major, minor = version.split(".")
    return Probe(command, (int(major), int(minor)), executable, "")


def choose_python(probes: Sequence[Probe]) -> Probe:
    """The first Python that fits.

    Raises:
        InstallError: none fits; the message says what each answered and what to do.
    """
    for found in probes:
        if found.version in SUPPORTED:
            return found
    answers = ", ".join(
        f"{p.command} is {p.version[0]}.{p.version[1]}" if p.version else f"{p.command}: {p.problem}"
        for p in probes
        if p.problem != "not found"
    )
    raise InstallError(
        f"this needs Python 3.11 or 3.12 with its venv module ({answers or 'no Python found'}): install one "
        "(Debian: apt install python3.11-venv), or name it: make install PYTHON=/path/to/python3.11"
    )


def check_system(system: str) -> None:
    """vLLM's CPU build exists for Linux only."""
    if system != "Linux":
        raise InstallError(f"the CPU stack needs Linux, this is {system}: use a Linux machine, WSL 2 or a container")


def check_disk(free: int, needed: int, path: Path) -> None:
    """Refuse before the downloads when the disk is too small; sizes in bytes."""
    if free < needed:
        raise InstallError(
            f"{path} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed: "
            "free some, or clone the project onto a larger disk"
        )


def read_pins(lock_text: str) -> dict[str, str]:
    """Package name -> version, in the order of the lock."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s#]+)", lock_text, flags=re.MULTILINE))


def wanted_stamp(lock: Path, project: Path, venv: Path) -> dict[str, str]:
    """What a finished `.venv` was made from, and where: one that was moved or copied doesn't work."""
    return {
        "lock": hashlib.sha256(lock.read_bytes()).hexdigest(),
        "project": hashlib.sha256(project.read_bytes()).hexdigest(),
        "place": str(venv),
    }


def read_stamp(venv: Path) -> dict[str, str]:
    """The stamp of `.venv`; empty when there is none yet or its install was interrupted.

    Raises:
        InstallError: the directory isn't ours to replace.
    """
    stamp = venv / STAMP
    if stamp.is_file():
        try:
            return dict(json.loads(stamp.read_text()))
        except ValueError:
            return {}
    if venv.exists() and any(venv.iterdir()):
        raise InstallError(f"{venv} was not made by this installer: move it away or remove it, then run again")
    return {}


def write_stamp(venv: Path, stamp: dict[str, str]) -> None:
    """Replace the stamp in one step, so that a kill leaves the old one or the new one."""
    new = venv / (STAMP + ".new")
    new.write_text(json.dumps(stamp) + "\n")
    os.replace(new, venv / STAMP)


class Display:
    """One line that is overwritten on a terminal; a plain line every ten seconds elsewhere."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.terminal = sys.stdout.isatty()
        self.printed = float("-inf")

    def say(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        print(f"[{time.monotonic() - self.started:4.0f} s] {text}", flush=True)

    def progress(self, verb: str, done: int, total: int, name: str) -> None:
        """How far a step is."""
        now = time.monotonic()
        if self.terminal:
            filled = 24 * done // total
            bar = "#" * filled + "." * (24 - filled)
            line = f"[{now - self.started:4.0f} s] [{bar}] {done}/{total} {verb} {name}"
            print("\r\033[K" + line[: shutil.get_terminal_size().columns - 1], end="", flush=True)
        elif now - self.printed >= 10:
            self.printed = now
            print(f"[{now - self.started:4.0f} s]   {done}/{total} {verb} {name}", flush=True)

    def _clear(self) -> None:
        if self.terminal:
            print("\r\033[K", end="")


def run_pip(venv: Path, arguments: Sequence[str]) -> Iterator[str]:
    """Run the environment's pip; yield its lines, and an empty one every half second of silence.

    Raises:
        InstallError: pip failed; its last error line and the log are named.
    """
    log_path = venv / "install.log"
    process = subprocess.Popen(
        [str(venv / "bin" / "python"), "-m", "pip", "install", "--no-deps", "--no-input", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    assert process.stdout is not None
    lines: queue.Queue[str | None] = queue.Queue()

    def read(stream: Iterator[str]) -> None:
        for text in stream:
            lines.put(text)
        lines.put(None)

    threading.Thread(target=read, args=(process.stdout,), daemon=True).start()
    errors = []
    try:
        with log_path.open("a") as log:
            while True:
                try:
                    line = lines.get(timeout=0.5)
                except queue.Empty:
                    yield ""
                    continue
                if line is None:
                    break
                log.write(line)
                if line.startswith("ERROR:"):
                    errors.append(line[len("ERROR:") :].strip())
                yield line
        status = process.wait()
    finally:
        if process.poll() is None:  # interrupted
            process.terminate()
            process.wait()
    if status != 0:
        python = next(venv.glob("lib/python*")).name
        raise InstallError(explain_pip_failure(errors, log_path, python))


def explain_pip_failure(errors: Sequence[str], log: Path, python: str) -> str:
    """One line with the cause and the fix; ``python`` is the one of the environment, as in "python3.12"."""
    text = " ".join(errors) or "no reason given"
    if "torch==" in text:
        fix = (
            f"pip sees no wheel of PyTorch's CPU build for {python}: name an index or a folder that has it "
            "(PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS), or a Python that you have it for (make install PYTHON=...)"
        )
    elif "No space left" in text:
        fix = "free some disk (pip also needs room in its cache and in TMPDIR)"
    else:
        fix = f"see {log}, check the network and pip's index, then run again"
    return f"pip failed: {text}: {fix}"


def install_lock(venv: Path, lock: Path, display: Display) -> None:
    """Install the pinned packages, showing first what is fetched, then what is installed."""
    total = len(read_pins(lock.read_text()))
    packages = next(venv.glob("lib/python*/site-packages"))
    before = sum(1 for _ in packages.glob("*.dist-info"))
    fetched, name, installing = 0, "", False
    # Compiling every module of the stack takes longer than installing it; Python compiles what is imported.
    for line in run_pip(venv, ["--no-compile", "--progress-bar", "off", "-r", str(lock)]):
        match = re.match(r"(?:Collecting|Processing|Requirement already satisfied:) (\S+)", line)
        if match:
            fetched, name = fetched + 1, match.group(1).rsplit("/", 1)[-1]
        installing = installing or line.startswith("Installing collected packages")
        if installing:
            done = sum(1 for _ in packages.glob("*.dist-info")) - before
            display.progress("installed", min(done, total), total, "")
        else:
            display.progress("fetching", min(fetched, total), total, name)


def verify(venv: Path, lock: Path) -> None:
    """Every pin is there in its version, and torch is the CPU build.

    Raises:
        InstallError: something else was installed.
    """
    pins = read_pins(lock.read_text())
    source = (
        "import importlib.metadata as m, json, re, sys\n"
        "key = lambda name: re.sub('[-_.]+', '-', name).lower()\n"
        "found = {key(d.metadata['Name']): d.version for d in m.distributions()}\n"
        "print(json.dumps({n: found.get(key(n)) for n in json.loads(sys.argv[1])}))\n"
        "import torch; torch.ones(2).sum()\n"
    )
    done = subprocess.run(
        [str(venv / "bin" / "python"), "-c", source, json.dumps(list(pins))],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InstallError(f"torch doesn't start ({last}): remove {venv} and run again")
    found = json.loads(done.stdout)
    wrong = sorted(name for name, version in pins.items() if found[name] != version)
    if wrong:
        raise InstallError("{} differ from {}: remove {} and run again".format(", ".join(wrong), lock.name, venv))


def make_environment(python: Probe, display: Display) -> None:
    """A new `.venv` with the lock installed and checked. What an interrupted run left is replaced."""
    old = VENV.with_name(".venv.old")
    if VENV.exists():
        shutil.rmtree(old, ignore_errors=True)
        VENV.rename(old)  # in one step: a kill while removing must not leave a .venv without its stamp
    shutil.rmtree(old, ignore_errors=True)
    VENV.mkdir()
    write_stamp(VENV, {})  # marks the directory as ours from the first moment
    assert python.version is not None
    display.say(f"step 1 of 4: Python {python.version[0]}.{python.version[1]} ({python.executable})")
    subprocess.run([python.executable, "-m", "venv", str(VENV)], check=True)
    total = len(read_pins(LOCK.read_text()))
    display.say(f"step 2 of 4: {total} pinned packages")
    install_lock(VENV, LOCK, display)
    display.say("step 3 of 4: checking versions")
    verify(VENV, LOCK)


def wait_for_others(display: Display) -> None:
    """One installer at a time; the system lets go of the lock when this process ends, however it ends."""
    import fcntl  # Linux has it; check_system has looked

    handle = os.open(__file__, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        display.say("another install is running in this clone: waiting for it")
        fcntl.flock(handle, fcntl.LOCK_EX)


def install(display: Display) -> None:
    """Bring `.venv` up to what the clone asks for.

    Raises:
        InstallError: with what to change.
    """
    check_system(platform.system())
    wait_for_others(display)
    wanted = wanted_stamp(LOCK, ROOT / "pyproject.toml", VENV)
    have = read_stamp(VENV)
    if not (VENV / "bin" / "python").exists():  # none yet, or its Python is gone
        have = {}
    if have == wanted:
        return
    stack = {key: wanted[key] for key in ("lock", "place")}
    if {key: have.get(key) for key in stack} != stack:
        named = os.environ.get("PYTHON")
        commands = [named] if named else ["python3.11", "python3.12", "python3"]
        python = choose_python([probe(command) for command in commands])
        check_disk(shutil.disk_usage(ROOT).free, NEEDED_BYTES, ROOT)
        make_environment(python, display)
        write_stamp(VENV, stack)
    display.say("step 4 of 4: this project, editable")
    for _ in run_pip(VENV, ["--quiet", "--no-build-isolation", "-e", str(ROOT)]):
        pass
    write_stamp(VENV, wanted)
    display.say(f"ready: {VENV}")


def main() -> int:
    """Install; a mistake that the user can fix is one line and status 2."""
    try:
        install(Display())
    except (InstallError, OSError, subprocess.CalledProcessError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: run it again to start over", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
