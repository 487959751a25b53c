"""`pivot explain`: one candidate with its samples, their verdicts, and why it was kept or cut."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pivot.errors import UserError
from pivot.mine.results import FATES, SUMMARY
from pivot.mine.select import (
    ALL0,
    ALL1,
    BALANCE,
    KEPT,
    MEAN,
    MESSAGES,
    NOT_DRAWN,
    PER_TRAJECTORY,
    VERDICT_ERRORS,
    Profile,
)
from pivot.mine.store import StoredProfile, StoredSample, merged
from pivot.prompt import render_action
from pivot.trajectory import Candidate
from pivot.trajectory.rows import load_candidates

TAIL_MESSAGES = 6
LONGEST = 4000  # characters of one text that are shown

MEANINGS = {
    KEPT: "kept: it is a pivot",
    ALL0: "cut (all0): no sample earned a reward, so the rewards have no variance and no gradient",
    ALL1: "cut (all1): every sample earned the reward, so the rewards have no variance and no gradient",
    MEAN: "cut (mean_not_below_lambda): the mean reward is too high",
    VERDICT_ERRORS: "cut (verdict_errors): fewer than two samples have a verdict",
    NOT_DRAWN: "cut (not_drawn): the random draw passed it over",
    PER_TRAJECTORY: "cut (per_trajectory): its trajectory has enough pivots with more variance",
    MESSAGES: "cut (message_share): pivots whose expert action is a message are capped, others have more variance",
    BALANCE: "cut (domain_balance): its domain has enough pivots with more variance",
}


def explain(prefix: str, store: Path, candidates: Path, pivots: Path | None, console: Console) -> None:
    """Print what mining knows of a candidate.

    Args:
        prefix: Beginning of its id.
        store: Of the profiles.
        candidates: Rows that were mined.
        pivots: Pivot rows, to say whether it is among them.
        console: Where to.

    Raises:
        UserError: No candidate, or more than one, has an id that begins so; or a file is missing.
    """
    candidate = find(prefix, candidates)
    stored = next(merged(store, [candidate.candidate_id]), None)
    for part in report(candidate, stored, fate(store, candidate.candidate_id), summary(store)):
        console.print(part)
    if pivots is not None:
        inside = any(item.candidate_id == candidate.candidate_id for item in load_candidates(pivots))
        console.print(Text(f"{'in' if inside else 'not in'} {visible(str(pivots))}"))


def find(prefix: str, path: Path) -> Candidate:
    """The one candidate of a file whose id begins with `prefix`; a whole id is never ambiguous.

    Raises:
        UserError: None, or several.
    """
    if not prefix:
        raise UserError("give the candidate's id or its beginning")
    found: dict[str, Candidate] = {}
    for candidate in load_candidates(path):
        if candidate.candidate_id == prefix:
            return candidate
        if candidate.candidate_id.startswith(prefix):
            found.setdefault(candidate.candidate_id, candidate)
    if not found:
        raise UserError(f"{path}: no candidate's id begins with '{visible(prefix)}'")
    if len(found) > 1:
        some = ", ".join(sorted(found)[:4])
        raise UserError(f"{path}: {len(found)} ids begin with '{prefix}' ({some}{', …' if len(found) > 4 else ''})")
    return found.popitem()[1]


def fate(store: Path, candidate_id: str) -> str | None:
    """What selection made of it, None before selection."""
    path = store / FATES
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as file:
        return next((row["fate"] for row in map(json.loads, file) if row["candidate_id"] == candidate_id), None)


def summary(store: Path) -> dict[str, Any]:
    """`mine.json`, empty before selection."""
    path = store / SUMMARY
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def report(
    candidate: Candidate, stored: StoredProfile | None, kept_or_cut: str | None, settings: Mapping[str, Any]
) -> Iterator[RenderableType]:
    """The parts that are printed. Trajectories and samples are untrusted: their text is shown, never interpreted."""
    head = (
        f"candidate {candidate.candidate_id}   turn {candidate.turn + 1} of {candidate.turns} of trajectory "
        f"{visible(candidate.trajectory_id)}   domain {visible(candidate.domain)}   {visible(candidate.source)}"
    )
    yield Text(head, style="bold")
    tail = candidate.messages[-TAIL_MESSAGES:]
    hidden = len(candidate.messages) - len(tail)
    title = f"history, last {len(tail)} of {len(candidate.messages)} messages" if hidden else "history"
    yield Panel(Text("\n".join(map(spoken, tail))), title=title, title_align="left")
    yield Panel(Text(cut_off(render_action(candidate.expected))), title="expert action", title_align="left")
    if stored is None:
        yield Text("not profiled: no record in the store (skipped, or mining has not come to it)")
        return
    yield samples_table(stored.samples)
    profile = stored.profile()
    yield Text(f"class {profile.kind}   mean {profile.mean:.3f}   variance {profile.variance:.4f}")
    yield Text(decision(profile, kept_or_cut, settings), style="bold")


def samples_table(samples: tuple[StoredSample, ...]) -> RenderableType:
    """One row for every different sample, with how often it was drawn; the most frequent ones first."""
    table = Table(title=f"{len(samples)} samples", title_justify="left", show_lines=True)
    for name in ("drawn", "reward", "verdict", "tokens", "text"):
        table.add_column(name, overflow="fold")
    for sample, count in Counter(samples).most_common():
        reward = "none" if sample.reward is None else f"{sample.reward:g}"
        verdict = visible(sample.reason) + "".join(f"\n+ {visible(name)}" for name in sample.used)
        cells = (f"{count}x", reward, verdict, str(sample.tokens), cut_off(sample.text))
        table.add_row(*(Text(cell) for cell in cells))
    return table


def decision(profile: Profile, kept_or_cut: str | None, settings: Mapping[str, Any]) -> str:
    """Why it was kept or cut, with the settings that decided."""
    if kept_or_cut is None:
        return "no selection yet: mining has not ended"
    rule, caps = settings.get("rule", {}), settings.get("caps", {})
    asked = ["variance > 0"] if rule.get("require_variance") else []
    if rule.get("max_mean") is not None:
        asked.append(f"mean {'<=' if rule.get('inclusive') else '<'} {rule['max_mean']:g}")
    wanted = " and ".join(asked) or "nothing"
    capped = ", ".join(f"{name} {value:g}" for name, value in caps.items() if value is not None)
    why = MEANINGS.get(kept_or_cut, visible(kept_or_cut))
    return f"{why}\nrule {rule.get('name', '?')} asks for: {wanted}{f'; caps: {capped}' if capped else ''}"


def spoken(message: Mapping[str, Any]) -> str:
    """One message as lines of a transcript."""
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    said = [message.get("content") or "", *(f"{call['name']}({call['arguments']})" for call in calls)]
    return f"{visible(message['role'])}: " + cut_off("\n".join(text for text in said if text))


def cut_off(text: str) -> str:
    """Printable text of bounded length."""
    shown = visible(text[:LONGEST])
    return shown if len(text) <= LONGEST else f"{shown} … ({len(text) - LONGEST:,} more characters)"


def visible(text: str) -> str:
    """Text whose control characters are written out: a sample must not move the cursor or hide what it says.

    Line ends and tabs stay. Escapes, bidirectional overrides and other format characters, lone surrogates, and
    separators that are no spaces are shown as `\\x1b`, `\\u202e`, ….
    """
    return "".join(_shown(char) for char in text)


def _shown(char: str) -> str:
    if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
