"""Every verifier that a configuration can name: its switches, its presets, and the sources that decide its verdicts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from pivot.trajectory import strict_json
from pivot.verify import (
    acts,
    arguments,
    ask,
    dates,
    exact,
    facts,
    gym,
    judge,
    matching,
    message,
    names,
    phrases,
    prose,
    ratio,
    schema,
    search,
    search_texts,
    search_tools,
    shell,
    shell_commands,
    shell_forms,
    shell_options,
    shell_rewrites,
    shell_script,
    shell_tree,
    shell_typed,
    shell_words,
    swe,
    swe_effect,
    swe_gym,
    swe_text,
    swe_tools,
    terminal,
    terminus,
    texts,
    tool_call,
    types,
    urls,
    words,
)
from pivot.verify.types import Decide


@dataclass(frozen=True, slots=True)
class Kind:
    """One family of verifiers.

    Attributes:
        options: Frozen dataclass of its switches, every one with a default.
        make: Options to the function that scores.
        sources: Modules whose text is part of the verifier's hash.
        presets: Named options.
        threads: Verdicts at once under these options.
    """

    options: type
    make: Callable[[Any], Decide]
    sources: tuple[ModuleType, ...]
    presets: Mapping[str, Any] = field(default_factory=dict)
    threads: Callable[[Any], int] = lambda options: 1


@dataclass(frozen=True, slots=True)
class NoOptions:
    """A verifier without switches."""


_SHELL = (
    shell, shell_commands, shell_forms, shell_options, shell_rewrites, shell_script, shell_tree, shell_typed,
    shell_words, words,
)  # fmt: skip
KINDS: dict[str, Kind] = {
    "exact": Kind(NoOptions, lambda options: exact.exact, (exact, types)),
    "tool_call": Kind(
        tool_call.ToolCallOptions, tool_call.tool_call,
        (
            tool_call, arguments, dates, facts, gym, matching, names, prose, schema, strict_json, texts, types, words,
        ),
        tool_call.PRESETS,
    ),
    "message": Kind(
        message.MessageOptions, message.message,
        (message, acts, dates, facts, names, phrases, texts, types, words), message.PRESETS,
    ),
    "terminal": Kind(
        terminal.TerminalOptions, terminal.terminal, (terminal, terminus, ratio, strict_json, types, *_SHELL),
        terminal.PRESETS,
    ),
    "swe": Kind(
        swe.SweOptions, swe.swe,
        (swe, swe_effect, swe_gym, swe_text, swe_tools, facts, prose, ratio, strict_json, types, *_SHELL), swe.PRESETS,
    ),
    "search": Kind(
        search.SearchOptions, search.search,
        (search, search_texts, search_tools, dates, facts, matching, strict_json, swe_tools, texts, types, urls, words),
    ),
    "judge": Kind(
        judge.Judge, lambda options: judge.make_judge(options, ask.asker(options)), (judge, ask, types),
        threads=lambda options: 1 if options.url == judge.ENGINE else options.concurrency,
    ),
}  # fmt: skip
