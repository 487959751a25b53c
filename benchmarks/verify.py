"""Verdicts a second on realistic pairs, and milliseconds a verdict on hostile ones, a row for each verifier.

python -m benchmarks.verify [--hostile 20000] [--seconds 2]

Processor time of the verifying thread: what else the machine does is not the verifier's.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.hostile import MESSAGES, TOOL, Pair, call, experts, pairs
from pivot.trajectory import Action
from pivot.verify import Context, Verifier, build
from pivot.verify.kinds import KINDS

LIMIT_MS = 50.0
_COLUMNS = ("verifier", "verdicts/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms")


def specs() -> list[str]:
    """Every kind with each of its presets that needs no network."""
    found = []
    for name, kind in KINDS.items():
        if kind.threads(kind.options()) == 1:
            found += [f"{name}:{preset}" for preset in kind.presets] or [name]
    return found


def realistic() -> list[Pair]:
    """What a policy that is half trained writes: the expert's action, near ones and other kinds."""
    tools = Context((TOOL,))
    day, other_day = "The customer prefers another day.", "Customer wants another day"
    near = [
        (call('{"city": "oslo", "seats": 1.0, "tags": ["b", "a"]}'), call('{"tags": ["a", "b"], "city": "Oslo"}')),
        (call(json.dumps({"city": "Oslo", "reason": day})), call(json.dumps({"city": "Oslo", "reason": other_day}))),
        (Action("May I have your reservation number and user ID?"), Action(MESSAGES[0])),
        (Action("Sorry, that isn't possible."), Action(MESSAGES[2])),
    ]
    known = experts()
    same = [(action, action) for action in known]
    other = [(known[(n + 1) % len(known)], action) for n, action in enumerate(known)]
    return [Pair(actual, expected, tools) for actual, expected in near + same + other]


def rate(verifier: Verifier, sample: Sequence[Pair], seconds: float) -> float:
    """Verdicts a second."""
    done, start = 0, time.thread_time()
    while (spent := time.thread_time() - start) < seconds:
        for pair in sample:
            verifier(pair.actual, pair.expected, pair.context)
        done += len(sample)
    return done / spent


def times(verifiers: Sequence[Verifier], count: int) -> Iterator[list[float]]:
    """Milliseconds of each verifier on each hostile pair, a pair at a time: some are too long to keep."""
    for pair in pairs(count):
        spent = []
        for verifier in verifiers:
            start = time.thread_time()
            verifier(pair.actual, pair.expected, pair.context)
            spent.append(1000 * (time.thread_time() - start))
        yield spent


def quantile(sorted_values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share does not exceed."""
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hostile", type=int, default=20_000, help="hostile pairs (default: 20000)")
    parser.add_argument("--seconds", type=float, default=2.0, help="on realistic pairs, a verifier (default: 2)")
    arguments = parser.parse_args()
    verifiers = [build(spec) for spec in specs()]
    console = Console()
    rates, columns = [], []
    with Progress(console=console) as bar:
        task = bar.add_task("realistic pairs", total=len(verifiers))
        for verifier in verifiers:
            rates.append(rate(verifier, realistic(), arguments.seconds))
            bar.advance(task)
        task = bar.add_task("hostile pairs", total=arguments.hostile)
        for spent in times(verifiers, arguments.hostile):
            columns.append(spent)
            bar.advance(task)
    rows: list[dict[str, Any]] = []
    table = Table(*_COLUMNS, title=f"{arguments.hostile} hostile pairs; the bound is {LIMIT_MS:g} ms at p99.9")
    for verifier, speed, values in zip(verifiers, rates, map(sorted, zip(*columns, strict=True)), strict=True):
        shown = [quantile(values, share) for share in (0.5, 0.99, 0.999, 1.0)]
        rows.append(dict(zip(_COLUMNS, (verifier.name, round(speed), *(round(ms, 3) for ms in shown)), strict=True)))
        table.add_row(verifier.name, f"{speed:,.0f}", *(f"{ms:.3f}" for ms in shown))
    console.print(table)
    held = all(row["p99.9 ms"] <= LIMIT_MS for row in rows)
    print(json.dumps({"benchmark": "verify", "hostile": arguments.hostile, "held": held, "rows": rows}))


if __name__ == "__main__":
    main()
