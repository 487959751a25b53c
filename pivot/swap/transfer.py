"""One swap under way: bucket after bucket over the wire, tensor after tensor into the engine."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor

from pivot import ranks
from pivot.clock import Clock
from pivot.region import Region
from pivot.swap.assembly import Assembly
from pivot.swap.errors import SwapError
from pivot.swap.fingerprint import fingerprint
from pivot.swap.held import Held
from pivot.swap.manifest import Shape
from pivot.swap.plan import Bucket, Copy, Plan, Step
from pivot.swap.wire import HEADER, SLOT, Wire, stamp

NOT_TAKEN = 1
"""What stands for the fingerprint of a part that is not checked in this swap."""


class Buffers:
    """One buffer to send from and one to receive into, for all swaps: uint8, as large as the plan's largest bucket."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        sent, received = plan.capacity
        self.send = torch.empty(sent, dtype=torch.uint8, device=device)
        self.receive = torch.empty(received, dtype=torch.uint8, device=device)

    @property
    def nbytes(self) -> int:
        return self.send.numel() + self.receive.numel()


class Transfer:
    """An iterable of (name, tensor) for this rank's engine; collective.

    Use it as a context, inside of which the engine reads it. What is wrong is collected and not raised at once, for the
    other ranks would wait for this one for ever: at its end all ranks raise together. An engine that stops reading
    stops no exchange either.

    Attributes:
        clock: Seconds by phase.
        tensors: How many the engine was given.
        bytes: How many of what it needs.
        largest: Most memory that one tensor took.
        checks: Parts whose fingerprints were compared.
    """

    def __init__(
        self,
        plan: Plan,
        shapes: Mapping[str, Shape],
        held: Held,
        buffers: Buffers,
        *,
        version: str,
        verified: float,
    ) -> None:
        """Nothing moves before it is read.

        Args:
            plan: This rank's part.
            shapes: Of the tensors.
            held: What this rank holds of them now.
            buffers: Its own, free to use.
            version: Of the weights, the same on every rank.
            verified: Share of the tensors whose fingerprints are compared, others at each version.
        """
        self.clock = Clock()
        self.tensors = self.bytes = self.largest = self.checks = 0
        self._plan, self._shapes, self._held, self._buffers = plan, shapes, held, buffers
        self._version, self._share = version, verified
        self._problems: list[str] = []
        self._open: dict[str, Assembly] = {}
        self._packed: dict[tuple[str, Region], tuple[tuple[Tensor, ...], int]] = {}
        self._flow = self._run()
        self._settled = False

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        yield from iter(self._next, None)
        self._settle(alone=False)

    def _next(self) -> tuple[str, Tensor] | None:
        return next(self._flow, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self._settled:
            unread = sum(1 for _ in self._flow)
            if error is not None:
                self._problems.append(f"the engine failed: {type(error).__name__}: {error}")
            elif unread:
                self._problems.append(f"the engine stopped reading {unread} tensors before the end")
            self._settle(alone=error is not None)

    def _settle(self, *, alone: bool) -> None:
        """Raises SwapError when any rank has found something wrong; not on a rank where an error is on its way."""
        self._settled = True
        found = ranks.gather([(ranks.rank(), problem) for problem in self._problems[:8]])
        if found and not alone:
            raise SwapError("; ".join(f"rank {rank}: {problem}" for rank, problem in found))

    def _run(self) -> Iterator[tuple[str, Tensor]]:
        done = set()
        for number, bucket in enumerate(self._plan.buckets):
            self._pack(bucket)
            with self.clock.phase("exchange"):
                self._exchange(bucket)
            marks = self._read_headers(bucket, number)
            for step in bucket.steps:
                if found := self._take(step, marks):
                    done.add(step.name)
                    yield from found
                    del found
            self._packed.clear()
        self._problems += [f"tensor {name} did not come" for name in self._plan.needs if name not in done]

    def _checked(self, name: str) -> bool:
        return zlib.crc32(f"{self._version} {name}".encode()) < self._share * (1 << 32)

    def _pack(self, bucket: Bucket) -> None:
        """Writes what this rank sends into its buffer: what goes to several ranks is encoded once."""
        marks: dict[int, list[int]] = {}
        for step in bucket.steps:
            for copy in step.sends:
                planes, mark = self._encoded(copy, sent=True)
                with self.clock.phase("pack"):
                    into = self._plan.wires[copy.name].read(self._buffers.send, copy.offset, copy.region)
                    for place, plane in zip(into, planes, strict=True):
                        place.copy_(plane)
                self._packed[copy.name, copy.region] = into, mark
                marks.setdefault(copy.peer, []).append(mark)
        with self.clock.phase("pack"):
            start = 0
            for peer, size in enumerate(bucket.sent):
                if size:
                    header = bytearray(stamp(self._version) + struct.pack(f"<{len(marks[peer])}Q", *marks[peer]))
                    self._buffers.send[start : start + len(header)] = torch.frombuffer(header, dtype=torch.uint8)
                start += size

    def _encoded(self, copy: Copy, *, sent: bool) -> tuple[tuple[Tensor, ...], int]:
        """The planes of a part of this rank, and their fingerprint, which a part that stays here does without."""
        known = self._packed.get((copy.name, copy.region))
        if known is not None:
            return known
        view = self._held.view(copy.name, copy.region)
        wire = self._plan.wires[copy.name]
        with self.clock.phase("quantise" if wire.format else "pack"):
            planes = wire.encode(view)
        mark = NOT_TAKEN
        if self._checked(copy.name):
            with self.clock.phase("fingerprint"):
                if sent:
                    mark = fingerprint(copy.name, copy.region, *planes)
                if not wire.faithful(view, planes):
                    self._problems.append(f"tensor {copy.name}: {copy.region} was quantised to something else")
        return planes, mark

    def _exchange(self, bucket: Bucket) -> None:
        if ranks.size() > 1:
            dist.all_to_all_single(
                self._buffers.receive[: sum(bucket.received)],
                self._buffers.send[: sum(bucket.sent)],
                list(bucket.received),
                list(bucket.sent),
            )

    def _read_headers(self, bucket: Bucket, number: int) -> dict[int, int]:
        """Fingerprints by their place in the buffer; notes ranks that sent another version."""
        counts: dict[int, int] = {}
        for step in bucket.steps:
            for copy in step.takes:
                if copy.peer != self._plan.rank:
                    counts[copy.peer] = counts.get(copy.peer, 0) + 1
        marks, start = {}, 0
        for peer, size in enumerate(bucket.received):
            if count := counts.get(peer):
                header = bytes(self._buffers.receive[start : start + HEADER + SLOT * count].tolist())
                if header[:HEADER] != stamp(self._version):
                    theirs = header[:HEADER].rstrip(b"\0").decode(errors="backslashreplace")
                    self._problems.append(
                        f"bucket {number} of rank {peer} is version {theirs!r}, this is the swap to {self._version!r}"
                    )
                slots = struct.unpack(f"<{count}Q", header[HEADER:])
                marks.update({start + HEADER + SLOT * i: mark for i, mark in enumerate(slots)})
            start += size
        return marks

    def _take(self, step: Step, marks: Mapping[int, int]) -> list[tuple[str, Tensor]]:
        """Takes what came of a tensor; what an engine loads of it once all of it is there."""
        name = step.name
        if name not in self._plan.needs or not (step.takes or step.last):
            return []
        wire, whole = self._plan.wires[name], Region.whole(self._shapes[name])
        if wire == Wire(wire.dtype) and [copy.region for copy in step.takes] == [whole] and name not in self._open:
            [copy] = step.takes
            if copy.peer == self._plan.rank:  # ours as it is: nothing to put together
                return self._count(name, [(name, self._held.view(name, whole))])
        if name not in self._open:
            device = self._buffers.receive.device
            self._open[name] = Assembly(name, whole.shape, self._plan.needs[name], wire, device)
        assembly = self._open[name]
        for copy in step.takes:
            if copy.peer == self._plan.rank:
                planes, mark = self._encoded(copy, sent=False)
            else:
                planes, mark = wire.read(self._buffers.receive, copy.offset, copy.region), marks[copy.slot]
            if mark:  # 0: the slot of a part that was not sent
                with self.clock.phase("assemble"):
                    assembly.put(copy.region, planes, None if mark == NOT_TAKEN else mark)
        if not step.last:
            return []
        del self._open[name]
        return self._count(name, self._finish(assembly))

    def _finish(self, assembly: Assembly) -> list[tuple[str, Tensor]]:
        with self.clock.phase("fingerprint"):
            self._problems += [f"tensor {assembly.name}: {part} did not come" for part in assembly.missing()]
            self._problems += [f"tensor {assembly.name}: {part} came twice" for part in assembly.twice()]
            self._problems += [
                f"tensor {assembly.name}: {part} is not what its owner sent (the fingerprints differ)"
                for part in assembly.changed()
            ]
        self.checks += assembly.checks
        with self.clock.phase("assemble"):
            made = assembly.tensors()
        self.largest = max(self.largest, assembly.nbytes)
        return made

    def _count(self, name: str, loaded: list[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
        self.tensors += 1
        (_, first), *scales = loaded
        self.bytes += self._plan.needs[name].numel * first.element_size() + sum(scale.nbytes for _, scale in scales)
        return loaded
