"""Closing tables: counts, intervals and gains in them."""

import io

from rich.console import Console

from pivot.report import print_evaluation, print_summary
from pivot.report.evaluations import evaluations

RESULTS = [
    {"model": model, "seed": seed, "in_domain": {"successes": wins, "n": 100}, "ood": {"successes": 80, "n": 100}}
    for model, wins in (("base", 30), ("[red]pivotrl", 50))
    for seed in (0, 1)
]


def printed(call: object, value: object) -> str:
    out = io.StringIO()
    call(value, Console(file=out, width=140))  # type: ignore[operator]
    return out.getvalue()


def test_evaluations_pair_seeds() -> None:
    partial = RESULTS[:3]  # the trained model has only seed 0 so far
    found = evaluations(partial, "base", "[red]pivotrl")
    assert [evaluation.base for evaluation in found] == [(30, 100), (80, 100)]
    assert [evaluation.trained for evaluation in found] == [(50, 100), (80, 100)]
    assert found[0].seeds[0].seed == 0


def test_evaluation_table() -> None:
    text = printed(print_evaluation, RESULTS)
    assert "30.0 % (24.1 to 36.7), 60/200" in text
    assert "[red]pivotrl" in text  # a model's name is no markup
    assert "+20.0 (+10.4 to +29.1)" in text
    assert "+0.0 (-7.8 to +7.8)" in text


def test_summary_table() -> None:
    rates = {"base": 0.3, "pivotrl": 0.5, "n": 200, "per_seed": {}, "smallest_gain": 0.18}
    text = printed(
        print_summary,
        {
            "mine": {"candidates": 3, "all0": 1, "mixed": 1, "all1": 1, "selected": 1},
            "train": {"steps": 40, "logprob_gap_max": 3e-6},
            "eval": {"in_domain": rates},
            "seconds": {"mine": 61.2},
        },
    )
    rows = {cells[1].strip(): cells[2].strip() for line in text.splitlines() if len(cells := line.split("│")) > 2}
    assert rows == {
        **{f"mined: {key}": "33.3 % (6.1 to 79.2), 1/3" for key in ("all0", "mixed", "all1", "selected")},
        "training: steps": "40",
        "training: logprob_gap_max": "3.0e-06",
        "episodes (in-domain): base": "30.0 % (24.1 to 36.7), 60/200",
        "episodes (in-domain): pivotrl": "50.0 % (43.1 to 56.9), 100/200",
        "smallest gain over the seeds, points": "+18.0",
        "seconds: mine": "61",
    }
