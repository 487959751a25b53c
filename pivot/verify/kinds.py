"""Every verifier that a configuration can name: its switches, its presets, and the module that decides its verdicts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from pivot.verify import ask, exact, judge, message, search, swe, terminal, tool_call
from pivot.verify.types import Decide


@dataclass(frozen=True, slots=True)
class Kind:
    """One family of verifiers.

    Attributes:
        options: Frozen dataclass of its switches, every one with a default.
        make: Options to the function that scores.
        module: Where it is; its text and that of all it imports is part of the verifier's hash.
        presets: Named options.
        threads: Verdicts at once under these options.
    """

    options: type
    make: Callable[[Any], Decide]
    module: ModuleType
    presets: Mapping[str, Any] = field(default_factory=dict)
    threads: Callable[[Any], int] = lambda options: 1


@dataclass(frozen=True, slots=True)
class NoOptions:
    """A verifier without switches."""


KINDS: dict[str, Kind] = {
    "exact": Kind(NoOptions, lambda options: exact.exact, exact),
    "tool_call": Kind(tool_call.ToolCallOptions, tool_call.tool_call, tool_call, tool_call.PRESETS),
    "message": Kind(message.MessageOptions, message.message, message, message.PRESETS),
    "terminal": Kind(terminal.TerminalOptions, terminal.terminal, terminal, terminal.PRESETS),
    "swe": Kind(swe.SweOptions, swe.swe, swe, swe.PRESETS),
    "search": Kind(search.SearchOptions, search.search, search),
    "judge": Kind(
        judge.Judge, lambda options: judge.make_judge(options, ask.asker(options)), ask,
        threads=lambda options: 1 if options.url == judge.ENGINE else options.concurrency,
    ),
}  # fmt: skip
