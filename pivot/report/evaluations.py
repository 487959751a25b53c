"""Base against trained, from the counts that `recipes/evaluate.py` leaves in `evaluation.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

from pivot.report.data import Evaluation, SeedResult

DOMAINS = {"in_domain": "episodes (in-domain)", "ood": "questions (out of domain)"}


def evaluations(results: Sequence[Mapping[str, Any]], base: str, trained: str) -> list[Evaluation]:
    """One evaluation a domain, over the seeds that both models have.

    Args:
        results: one row a model and seed: `model`, `seed`, and `successes` and `n` under each of `DOMAINS`.
        base: name of the model to compare with.
        trained: name of the model that is compared.
    """
    rows = {(row["model"], row["seed"]): row for row in results}
    seeds = [seed for model, seed in rows if model == base and (trained, seed) in rows]
    return [
        Evaluation(title, tuple(_seed(seed, rows[base, seed][key], rows[trained, seed][key]) for seed in seeds))
        for key, title in DOMAINS.items()
    ]


def _seed(seed: int, base: Mapping[str, int], trained: Mapping[str, int]) -> SeedResult:
    return SeedResult(seed, base["successes"], base["n"], trained["successes"], trained["n"])
