"""What mining leaves behind: pivot rows, the reason of every cut, `mine.json`."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pivot.errors import UserError
from pivot.mine.groups import Turn
from pivot.mine.select import KEPT, Caps, Profile, Rule, select
from pivot.mine.store import merged
from pivot.trajectory.atomic import atomic_write
from pivot.trajectory.rows import to_row

SUMMARY, FATES = "mine.json", "selection.jsonl"


@dataclass(frozen=True, slots=True)
class Prefill:
    """Prompt tokens that sampling cost in one run.

    Attributes:
        computed: By the engines, over all samples: prompt tokens that their prefix caches did not hold.
        distinct: Tokens of the tree that the prompts form, the least that can be computed.
    """

    computed: int
    distinct: int

    @property
    def ratio(self) -> float:
        """Computed / distinct; 1 is the ideal."""
        return self.computed / self.distinct


@dataclass(frozen=True, slots=True)
class Selected:
    """The outcome of mining: profiles in prefix order, pivots among them, and why the others were cut."""

    profiles: Sequence[Profile]
    kept: Sequence[Profile]
    cut: Mapping[str, str]

    @property
    def cuts(self) -> Counter[str]:
        """How many candidates each reason cut."""
        return Counter(self.cut.values())


def select_all(store: Path, turns: Sequence[Turn], rule: Rule, caps: Caps) -> Selected:
    """Select over every profile in the store.

    Raises:
        UserError: a shard changed while it was read.
    """
    about = {turn.candidate.candidate_id: turn.candidate for turn in turns}
    profiles = [stored.profile() for stored in merged(store, list(about))]
    return Selected(profiles, *select(profiles, rule, caps, about))


def write(
    out: Path,
    store: Path,
    turns: Sequence[Turn],
    selected: Selected,
    made_by: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """Write the pivots, and into the store the fate of every candidate and `mine.json`, each whole or not at all.

    Args:
        out: pivot rows.
        store: of the profiles.
        turns: every candidate.
        selected: what became of them.
        made_by: what the profiles depend on, for the rows.
        settings: further keys of `mine.json`.

    Raises:
        UserError: a file cannot be written.
    """
    about = {turn.candidate.candidate_id: turn.candidate for turn in turns}
    rows = (to_row(about[item.candidate_id], {**made_by, **_profile_block(item)}) for item in selected.kept)
    fates = (
        {"candidate_id": item.candidate_id, "fate": selected.cut.get(item.candidate_id, KEPT)}
        for item in selected.profiles
    )
    _write_lines(out, rows)
    _write_lines(store / FATES, fates)
    _write_lines(store / SUMMARY, [{**summary(selected), **settings}], indent=2)


def summary(selected: Selected) -> dict[str, Any]:
    """Counts of classes, pivots and cuts; candidates = all0 + mixed + all1 + no_verdict."""
    kinds = Counter(item.kind for item in selected.profiles)
    return {
        "candidates": len(selected.profiles),
        **{kind: kinds[kind] for kind in ("all0", "mixed", "all1", "no_verdict")},
        "selected": len(selected.kept),
        "cut": dict(selected.cuts),
        "samples": sum(len(item.rewards) + item.errors for item in selected.profiles),
        "verdict_errors": sum(item.errors for item in selected.profiles),
    }


def _profile_block(item: Profile) -> dict[str, Any]:
    """What a pivot's row says of its profile; adaptive profiling may have drawn fewer samples than G."""
    return {
        "samples": len(item.rewards) + item.errors,
        "rewards": item.rewards,
        "mean": item.mean,
        "variance": item.variance,
        "reasons": item.reasons,
        "errors": item.errors,
    }


def _write_lines(path: Path, rows: Iterator[Any] | Sequence[Any], indent: int | None = None) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False, indent=indent) + "\n")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); make room and run the same command again"
        ) from None
