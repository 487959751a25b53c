"""A real Slurm on this machine, for tests: munged, slurmctld and a slurmd a node, everything in one directory.

Each node has its own process, mount, host name and IPC namespaces, so a node can crash whole, and has a /dev/shm of its
own. All of it ends with the process that started it, however that ends.
"""

import getpass
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.system.slurm.settings import GPUS, Node, Settings

NODE_INIT = Path(__file__).with_name("node.sh")
FREEZER = Path("/sys/fs/cgroup/freezer")
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge", "iproute2")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged", "unshare", "setpriv")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
SMALL_DISK = 200 << 20  # bytes of `Cluster.small`


class Cluster:
    """Two nodes with eight pretended GPUs each.

    Attributes:
        root: directory of everything; programs on every node see it.
        partial: a directory inside it that the last node has another of: for what isn't shared by mistake.
        small: a small file system that every node sees.
        nodes: the pretended machines.
        environment: what the Slurm commands need.
    """

    def __init__(self, root: Path) -> None:
        # unix sockets have short names, munged wants directories that everyone may enter
        root.chmod(0o755)
        tag = secrets.token_hex(2)
        ports = free_ports(3)
        nodes = tuple(Node(f"node-{tag}-{i}", f"127.0.0.{10 + i}", ports[i]) for i in (1, 2))
        self.root = root
        self.nodes = nodes
        self.partial = root / "partial"
        self.small = root / "small"
        self.environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(root / "slurm.conf")}
        self.settings = Settings(
            root, f"test-{tag}", socket.gethostname().split(".")[0], getpass.getuser(), ports[0],
            random.SystemRandom().randrange(1000, 9000) * 10, nodes, os.access(FREEZER, os.W_OK),
        )  # fmt: skip
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Everything up and every node idle."""
        root = self.root
        for name in ("log", "state", "dev", "partial", "small"):
            (root / name).mkdir()
        (root / "state").chmod(0o755)
        for i in range(GPUS):  # slurmd wants character devices whose names end in the number of the GPU
            (root / "dev" / f"nvidia{i}").symlink_to("/dev/null")
        for name, text in self.settings.files().items():
            (root / name).write_text(text)
        key = root / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        check("mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "small", self.small)
        self._spawn("munged", "munged", "--foreground", f"--key-file={key}", f"--socket={root}/munge.sock",
                    f"--pid-file={root}/munged.pid", f"--log-file={root}/log/munged.log",
                    f"--seed-file={root}/munged.seed")  # fmt: skip
        until((root / "munge.sock").exists, 20, "munged", self.logs)
        self._spawn("slurmctld", "slurmctld", "-D", "-f", root / "slurm.conf")
        for node in self.nodes:
            self._start_node(node)
        until(lambda: all(state == "idle" for state in self.states().values()), 60, "nodes", self.logs)

    def stop(self) -> None:
        """Nothing is left: no process, no mount, no directory."""
        with suppress(subprocess.SubprocessError):
            self.run("scancel", "--full", f"--user={self.settings.user}", timeout=20)
            until(lambda: not self.run("squeue", "-h").stdout, 10, "jobs", lambda: "")
        for node in self.nodes:
            self.crash(node)
        for name in ("slurmctld", "munged"):
            self._end(name, signal.SIGTERM)
        if os.path.ismount(self.small):
            check("umount", "--lazy", self.small)
        shutil.rmtree(self.root)

    def clear(self) -> None:
        """Cancel what runs and waits, and see it go."""
        self.run("scancel", "--full", f"--user={self.settings.user}")
        until(lambda: not self.run("squeue", "-h").stdout.strip(), 60, "empty queue", self.logs)

    def run(
        self, *command: str | Path, cwd: Path | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """One of Slurm's commands, or one that calls them, whatever comes of it."""
        return subprocess.run(
            [*map(str, command)], env=self.environment, cwd=cwd, text=True, capture_output=True, timeout=timeout,
            check=False,
        )  # fmt: skip

    def states(self) -> dict[str, str]:
        """Node -> idle, mixed, allocated, down, ... as far as the controller answers."""
        lines = self.run("sinfo", "-h", "-N", "-p", "batch", "-o", "%N %T").stdout.splitlines()
        found = dict(line.split() for line in lines)
        return {node.name: found.get(node.name, "unknown").rstrip("*~#!%$@+") for node in self.nodes}

    def crash(self, node: Node) -> None:
        """The node loses power: every process of it is gone at once."""
        if node.name in self._daemons:
            with suppress(ProcessLookupError, StopIteration):
                os.kill(self._init(node), signal.SIGKILL)
            self._end(node.name, signal.SIGTERM)
        group = FREEZER / f"slurm_{node.name}"
        for directory in sorted(group.rglob("*"), reverse=True) if group.exists() else []:
            if directory.is_dir():
                with suppress(OSError):
                    directory.rmdir()
        with suppress(OSError):
            group.rmdir()

    def kill_daemon(self, node: Node) -> None:
        """SIGKILL to the node's slurmd alone; its jobs live on."""
        for pid in children(self._init(node)):
            if comm(pid) == "slurmd":
                os.kill(pid, signal.SIGKILL)

    def heal(self, node: Node) -> None:
        """The node, or its daemon, is back."""
        if node.name in self._daemons:
            (self.root / f"{node.name}.start").touch()
        else:
            self._start_node(node)

    def processes(self, node: Node) -> Iterator[int]:
        """Process ids, as seen from here, of what runs on the node."""
        home = namespace(self._init(node))
        for path in Path("/proc").iterdir():
            if path.name.isdigit() and namespace(int(path.name)) == home:
                yield int(path.name)

    def logs(self) -> str:
        """The end of what the daemons have logged."""
        files = sorted((self.root / "log").iterdir())
        return "\n".join(f"== {file.name}\n{file.read_text(errors='replace')[-1500:]}" for file in files)

    def _start_node(self, node: Node) -> None:
        (self.root / f"spool.{node.name}").mkdir(exist_ok=True)
        (self.root / f"{node.name}.start").touch()
        private = ["/dev/shm", *([self.partial] if node == self.nodes[-1] else [])]
        self._spawn(node.name, "unshare", "--fork", "--pid", "--mount-proc", "--uts", "--ipc", "--mount",
                    "--kill-child=KILL", "bash", NODE_INIT, self.root, node.name, *private)  # fmt: skip

    def _spawn(self, name: str, *command: str | Path) -> None:
        # out of our session, so that a Ctrl-C doesn't reach it; the kernel ends it when this process ends
        with (self.root / "log" / f"{name}.out").open("ab") as output:
            self._daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *map(str, command)], env=self.environment, cwd=self.root,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def _end(self, name: str, number: signal.Signals) -> None:
        daemon = self._daemons.pop(name, None)
        if daemon is not None:
            daemon.send_signal(number)
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _init(self, node: Node) -> int:
        """The node's process 1, as seen from here."""
        return next(iter(children(self._daemons[node.name].pid)))


def until(ready: Callable[[], bool], seconds: float, what: str, detail: Callable[[], str]) -> None:
    """Wait until `ready`.

    Raises:
        AssertionError: it took longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not ready after {seconds:.0f} s\n{detail()}")
        time.sleep(0.1)


def check(*command: str | Path) -> None:
    subprocess.run([*map(str, command)], env={**os.environ, "PATH": PATH}, check=True)


def free_ports(count: int) -> list[int]:
    """Below those that the system hands out, of which one may be gone by the time a daemon listens on it."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(15_000, 32_000), 200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) and len(found) < count:
                found.append(port)
    return found


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def namespace(pid: int) -> str | None:
    """Of its process ids; None when the process is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def unavailable() -> str | None:
    """Why no cluster can be made here; None if it can. Installs what is missing, where that is possible."""
    if os.geteuid() != 0:
        return "the local Slurm needs root, for its nodes' namespaces"
    if missing() and shutil.which("apt-get"):
        apt = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"],
                        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):  # fmt: skip
            subprocess.run(command, env=apt, capture_output=True, timeout=300, check=False)
    if missing():
        return f"the local Slurm needs {', '.join(missing())} (Debian: apt-get install {' '.join(PACKAGES)})"
    probe = subprocess.run(["unshare", "--fork", "--pid", "--mount-proc", "--uts", "--ipc", "--mount", "true"],
                           capture_output=True, text=True, check=False)  # fmt: skip
    return f"no namespaces here: {probe.stderr.strip()}" if probe.returncode else None


def missing() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
