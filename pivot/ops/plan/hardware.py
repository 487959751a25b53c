"""What a plan assumes of devices: peaks from data sheets, and how much of a peak is reached.

Peaks are the vendors' (dense, without sparsity), per device and one way. The shares reached are assumptions, the same
for all GPUs; docs/plan.md says which were chosen to meet published step times and how far off the others are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

GIB = 1 << 30
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU, or one rank on a CPU.

    Attributes:
        memory: bytes that it has; of a CPU: those of the machine, which its ranks share.
        flops: a second, in bfloat16; of a CPU in float32.
        fp8: the same in FP8.
        hbm: bytes a second of its memory.
        link: bytes a second to the others of its node.
        network: bytes a second to other nodes.
        host: bytes a second to pinned host memory; 0: it is the same memory.
        host_memory: bytes of host memory for each device.
        context: bytes that drivers, kernels and communicators take in every process.
        engine_layer: seconds of a decode step that a layer costs whatever is in it (launches, without CUDA graphs).
        engine_sequence: seconds of a decode step that every sequence costs on the host (scheduling, sampling).
        train_layer: the least seconds of a layer's forward and backward pass of a micro-batch.
        kept: activations that autograd keeps for each that is counted: layers on a CPU are not fused (measured).
        left_out: real seconds of generation and training for each that the formulas give.
    """

    memory: int
    flops: float
    fp8: float
    hbm: float
    link: float
    network: float
    host: float
    host_memory: int
    context: int = 2 * GIB
    engine_layer: float = 0.35e-3
    engine_sequence: float = 15e-6
    train_layer: float = 1.5e-3
    kept: float = 1.0
    left_out: float = 1.78


@dataclass(frozen=True, slots=True)
class Reached:
    """Shares of a peak, and fixed costs, that are assumed of every GPU.

    Attributes:
        dense: of the FLOPs, in matrices that all tokens meet, in training.
        experts: of the FLOPs, in the many small products of experts, in training.
        attention: of the FLOPs, in attention over packs.
        prefill: of the FLOPs, where an engine reads prompts.
        memory: of the memory's bandwidth.
        link: of the bandwidth of links and network.
        copy: seconds that Python and the device need for a small copy.
        exchange: seconds of an all-to-all beside its bytes.
        load: seconds that an engine's loader spends on a tensor beside its bytes.
        collective: seconds of a small collective over NVLink.
        verdict: seconds that a verdict takes on a host core.
        tail: the longest action of a step, in mean actions.
        disk: bytes a second that a rank writes to a shared file system.
        imbalance: tokens of the rank whose experts are asked most, against the mean.
        fragments: share of torch's memory that is lost between allocations.
    """

    dense: float = 0.45
    experts: float = 0.20
    attention: float = 0.35
    prefill: float = 0.35
    memory: float = 0.60
    link: float = 0.70
    copy: float = 10e-6
    exchange: float = 50e-6
    load: float = 150e-6
    collective: float = 20e-6
    verdict: float = 2e-3
    tail: float = 4.0
    disk: float = 0.5e9
    imbalance: float = 1.2
    fragments: float = 0.06


REACHED = Reached()

DEVICES: Mapping[str, Device] = MappingProxyType(
    {
        "cpu": Device(
            memory=24 * GIB, flops=0.15e12, fp8=0.15e12, hbm=8e9, link=2e9, network=1e9, host=0, host_memory=0,
            context=GIB, kept=1.36, engine_layer=1e-3, engine_sequence=60e-6, train_layer=1.5e-3, left_out=1.0,
        ),
        "a100": Device(80 * GIB, 312e12, 312e12, 2.0e12, 300e9, 25e9, 25e9, 128 * GIB),
        "h20": Device(95 * GIB, 148e12, 296e12, 4.0e12, 450e9, 50e9, 55e9, 256 * GIB),
        "h100": Device(79 * GIB, 989e12, 1979e12, 3.35e12, 450e9, 50e9, 55e9, 256 * GIB),
        "h200": Device(140 * GIB, 989e12, 1979e12, 4.8e12, 450e9, 50e9, 55e9, 256 * GIB),
        "b200": Device(178 * GIB, 2250e12, 4500e12, 8.0e12, 900e9, 50e9, 55e9, 256 * GIB),
        "gb200": Device(184 * GIB, 2450e12, 4900e12, 8.0e12, 900e9, 50e9, 225e9, 220 * GIB),
    }
)  # fmt: skip
