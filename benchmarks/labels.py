"""Precision and recall of the verifiers on hand-labelled pairs: `python -m benchmarks.labels [--misses]`.

`tests/labels/*.jsonl` holds pairs of an expert's action and another one, each with a label (would it do the same?) and
the reason for it, written before any verdict was looked at. Pairs with an odd number are for development, those with an
even one are held out: nobody tunes on their misses. A verdict counts as "equivalent" from half a reward on.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pivot.trajectory import Action, ToolCall
from pivot.verify import Context, Verdict, build

LABELS = Path(__file__).resolve().parent.parent / "tests" / "labels"
MEASURED = {
    "tool_call": ("tool_call:schema", "tool_call:gym", "exact"),
    "message": ("message:guarded", "message:lenient", "exact"),
    "terminal": ("terminal:shell", "terminal:gym", "exact"),
    "search": ("search", "exact"),
    "swe": ("swe:guarded", "swe:gym", "exact"),
}
HALVES = ("development", "held out")


@dataclass(frozen=True, slots=True)
class Pair:
    """One labelled pair."""

    name: str
    actual: Action
    expected: Action
    context: Context
    equivalent: bool
    why: str

    @property
    def half(self) -> str:
        return HALVES[int(self.name.rsplit("-", 1)[1]) % 2 == 0]


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of one verifier on one half of a set."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float:
        """Of the pairs called equivalent, the share that is; 1 when there is none."""
        called = self.true_positives + self.false_positives
        return self.true_positives / called if called else 1.0

    @property
    def recall(self) -> float:
        """Of the equivalent pairs, the share called so."""
        return self.true_positives / (self.true_positives + self.false_negatives)

    @property
    def pairs(self) -> int:
        return self.true_positives + self.false_positives + self.false_negatives + self.true_negatives


def read_action(raw: Any) -> Action:
    """An action of a label file: a text, or `content` and `calls`."""
    if isinstance(raw, str):
        return Action(raw)
    calls = tuple(ToolCall(call["name"], call["arguments"]) for call in raw.get("calls") or ())
    return Action(raw.get("content"), calls)


def read_pairs(name: str) -> Iterator[Pair]:
    """The pairs of a set, in file order."""
    for line in (LABELS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield Pair(
            row["id"], read_action(row["actual"]), read_action(row["expected"]), Context(row.get("tools") or ()),
            bool(row["label"]), row["why"],
        )  # fmt: skip


def verdicts(verifier: str, pairs: Sequence[Pair]) -> list[Verdict]:
    """One verdict a pair."""
    decide = build(verifier)
    return [decide(pair.actual, pair.expected, pair.context) for pair in pairs]


def score(pairs: Sequence[Pair], given: Sequence[Verdict]) -> Score:
    """Count hits and misses."""
    counts = {(said, meant): 0 for said in (True, False) for meant in (True, False)}
    for pair, verdict in zip(pairs, given, strict=True):
        counts[verdict.reward >= 0.5, pair.equivalent] += 1
    return Score(counts[True, True], counts[True, False], counts[False, True], counts[False, False])


def measure(name: str, verifier: str) -> dict[str, Score]:
    """Scores of a verifier on both halves of a set."""
    pairs = list(read_pairs(name))
    given = verdicts(verifier, pairs)
    halves = {half: [i for i, pair in enumerate(pairs) if pair.half == half] for half in HALVES}
    return {half: score([pairs[i] for i in at], [given[i] for i in at]) for half, at in halves.items()}


def misses(name: str, verifier: str) -> list[tuple[Pair, Verdict]]:
    """What a verifier got wrong in the development half."""
    pairs = [pair for pair in read_pairs(name) if pair.half == HALVES[0]]
    both = zip(pairs, verdicts(verifier, pairs), strict=True)
    return [(pair, verdict) for pair, verdict in both if (verdict.reward >= 0.5) != pair.equivalent]


def main() -> None:
    """Print the table and, as the last line, the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--misses", metavar="SET", choices=MEASURED, help="list what the set's first verifier missed")
    arguments = parser.parse_args()
    if arguments.misses:
        for pair, verdict in misses(arguments.misses, MEASURED[arguments.misses][0]):
            kind = "missed" if pair.equivalent else "WRONGLY EQUAL"
            print(f"{pair.name} {kind} {verdict.reason} {verdict.detail}\n  expert {pair.expected}")
            print(f"  actual {pair.actual}\n  why    {pair.why}")
        return
    table = Table(title="Verifiers on hand-labelled pairs")
    for column in ("set", "verifier", "half", "pairs", "precision", "recall"):
        table.add_column(column)
    found: dict[str, dict[str, float]] = {}
    for name, verifiers in MEASURED.items():
        for verifier in verifiers:
            for half, result in measure(name, verifier).items():
                said = f"{result.precision:.3f}", f"{result.recall:.3f}"
                table.add_row(name, verifier, half, str(result.pairs), *said)
                found[f"{name} {verifier} {half}"] = {
                    "pairs": result.pairs, "precision": round(result.precision, 4), "recall": round(result.recall, 4),
                }  # fmt: skip
    Console(soft_wrap=True).print(table)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
