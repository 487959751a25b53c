"""A short all-reduce over all nodes of a job, as the ranks would do it: NCCL with a process a GPU, else gloo."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import timedelta
from itertools import repeat

import torch
import torch.distributed as dist

from pivot.ops.health import Fault

PATIENCE = timedelta(seconds=180)  # nodes that import torch from a cold file system come late
COLLECTIVE = timedelta(seconds=60)
GOODBYE = 10.0  # seconds
ELEMENTS = 1 << 22  # float32, 16 MiB
ROUNDS = 5
SKEW_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Meeting:
    """Who meets where.

    Attributes:
        master: name of the first node.
        port: of the store there.
        node: this node's name.
        index: of this node, from 0; node 0 is the batch host.
        nodes: how many there are.
        gpus: of each.
    """

    master: str
    port: int
    node: str
    index: int
    nodes: int
    gpus: int


def reduce(meeting: Meeting) -> Fault | None:
    """This node's part of the all-reduce; what is wrong with the node, or with the way to the others."""
    if not torch.cuda.is_available():
        if torch.version.cuda and meeting.gpus:
            return Fault("node", "torch finds no CUDA device; compare the driver with torch.version.cuda")
        return rank(0, meeting, 1)
    if torch.cuda.device_count() < meeting.gpus:
        return Fault("node", f"torch finds {torch.cuda.device_count()} of {meeting.gpus} GPUs")
    devices = range(meeting.gpus)
    try:
        with ProcessPoolExecutor(meeting.gpus, multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(rank, devices, repeat(meeting), repeat(meeting.gpus)))
    except BrokenProcessPool:
        return Fault("node", "a process of the all-reduce died; NCCL's complaint is in this log")
    return next((fault for fault in found if fault), None)


def rank(local: int, meeting: Meeting, on_node: int) -> Fault | None:
    """One process: its own device, then everybody's."""
    number, world = meeting.index * on_node + local, meeting.nodes * on_node
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    fault = own(device)
    try:
        store = dist.TCPStore(meeting.master, meeting.port, world, number == 0, PATIENCE, wait_for_workers=False)
    except RuntimeError as error:
        return fault or Fault("network", f"cannot reach {meeting.master}:{meeting.port}: {line(error)}")
    if not all_well(store, number, world, fault is None):
        return fault
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, store=store, rank=number, world_size=world, timeout=COLLECTIVE)
        return together(meeting, torch.ones(ELEMENTS, device=device), number, world)
    except RuntimeError as error:
        hint = "see slurm/network.sh (NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME)"
        return Fault("network", f"{backend} all-reduce over {world} ranks failed: {line(error)}; {hint}")
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def own(device: torch.device) -> Fault | None:
    """Whether the device computes."""
    try:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        total = float(torch.ones(ELEMENTS, device=device).sum())
    except RuntimeError as error:
        return Fault("node", f"{device}: {line(error)}")
    return None if total == ELEMENTS else Fault("node", f"{device}: {ELEMENTS} ones add up to {total:g}")


def all_well(store: dist.TCPStore, number: int, world: int, well: bool) -> bool:
    """Whether everybody came in time and is well; else nobody has to wait for a collective that cannot succeed."""
    try:
        store.set(f"here-{number}", "well" if well else "ill")
        names = [f"here-{other}" for other in range(world)]
        store.wait(names, PATIENCE)
        if all(store.get(name) == b"well" for name in names):
            return True
        store.add("left", 1)
        until = time.monotonic() + GOODBYE
        while number == 0 and store.add("left", 0) < world and time.monotonic() < until:
            time.sleep(0.1)  # the store is in this process
    except RuntimeError:  # somebody is missing: the batch script sees who has not answered
        pass
    return False


def together(meeting: Meeting, ones: torch.Tensor, number: int, world: int) -> Fault | None:
    """The sum must be the number of ranks, and the clocks must agree with the batch host's."""
    dist.all_reduce(ones.clone())  # the first one makes the connections
    start = time.perf_counter()
    for _ in range(ROUNDS):
        total = ones.clone()
        dist.all_reduce(total)
    value = float(total[0])  # waits for the device
    seconds = (time.perf_counter() - start) / ROUNDS
    if value != world or float(total[-1]) != world:
        return Fault("node", f"the all-reduce of ones over {world} ranks gave {value:g}")
    clock = torch.tensor([time.time()], dtype=torch.float64, device=ones.device)
    clocks = [torch.zeros_like(clock) for _ in range(world)]
    dist.all_gather(clocks, clock)
    skew = float(clock - clocks[0])
    if abs(skew) > SKEW_SECONDS:
        return Fault("node", f"the clock is {skew:+.1f} s off the first node's; set it (chronyc makestep)")
    if number == 0:
        bus = 2 * (world - 1) / world * ones.numel() * ones.element_size() / seconds / 1e9
        print(f"all-reduce of 16 MiB over {world} ranks: {seconds * 1e3:.1f} ms, {bus:.2f} GB/s on the bus", flush=True)
    return None


def line(error: RuntimeError) -> str:
    """The first line of a message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
