"""From a run's values to its charts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pivot.report.data import MinedCandidate
from pivot.report.svg import Bar, Line, bars, lines, number

MOST_LEVELS = 16
MOST_TURNS = 20


@dataclass(frozen=True, slots=True)
class Curve:
    """One small chart over training steps: title, what it means, its columns as (column, name, style)."""

    title: str
    note: str
    columns: tuple[tuple[str, str, str], ...]
    floor: float | None = 0.0


CURVES = (
    Curve("Reward", "mean over all samples of a step; dots: held-out trajectories",
          (("reward_mean", "train", "s1"), ("validation/reward_mean", "held out", "s2"))),
    Curve("Reward spread in a group", "mean over groups of the standard deviation; zero means no gradient",
          (("reward_std", "train", "s1"), ("validation/reward_std", "held out", "s2"))),
    Curve("Groups", "share of groups that are all 0, mixed, all 1",
          (("groups/all0", "all 0", "s3"), ("groups/mixed", "mixed", "s1"), ("groups/all1", "all 1", "s2"))),
    Curve("Gradient norm", "before clipping", (("grad_norm", "gradient norm", "s1"),)),
    Curve("KL to start", "per token, against the policy that training started from", (("kl_to_start", "KL", "s1"),)),
    Curve("Entropy", "per sampled token", (("entropy", "entropy", "s1"),)),
    Curve("Ratio", "new over old probability of the sampled tokens",
          (("ratio_mean", "mean", "s1"), ("ratio_max", "largest", "s2")), floor=None),
    Curve("Trainer and engine", "absolute difference of their logprobs of the same tokens",
          (("logprob_gap_mean", "mean", "s1"), ("logprob_gap_max", "largest", "s2"), ("probe_gap_max", "probe", "s3"))),
    Curve("Tokens a second", "trained action tokens", (("tokens_per_second", "tokens/s", "s1"),)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn curve with its legend as (name, style, last value)."""

    title: str
    note: str
    svg: Markup
    legend: tuple[tuple[str, str, str], ...]


def rewards_chart(candidates: Sequence[MinedCandidate]) -> Markup:
    """Candidates by mean reward, pivots marked; all-0 and all-1 groups have columns of their own."""
    levels = min(max((len(candidate.rewards) for candidate in candidates), default=1), MOST_LEVELS)
    counts: Counter[tuple[int, bool]] = Counter()
    for candidate in candidates:
        level = {"all0": 0, "all1": levels}.get(candidate.outcome)
        if level is None:
            level = min(max(round(candidate.mean * levels), 1), max(levels - 1, 1))
        counts[level, candidate.selected] += 1
    columns = []
    for level in range(levels + 1):
        pivots, others = counts[level, True], counts[level, False]
        name = {0: "all 0", levels: "all 1"}.get(level, number(round(level / levels, 2)))
        columns.append(
            Bar(
                name,
                (("pivot", pivots), ("other", others)),
                str(pivots + others) if pivots + others else "",
                f"mean reward {name}: {pivots + others} candidates, {pivots} pivots",
            )
        )
    chosen = sum(candidate.selected for candidate in candidates)
    return bars(
        "Candidates by mean reward",
        f"{len(candidates)} candidates, {chosen} of them pivots.",
        columns,
        "mean reward of a candidate's rollouts",
        "candidates",
    )


def turns_chart(candidates: Sequence[MinedCandidate]) -> Markup:
    """Share of the candidates at each turn that are pivots; late turns share the last column."""
    total: Counter[int] = Counter()
    pivots: Counter[int] = Counter()
    for candidate in candidates:
        turn = min(candidate.turn, MOST_TURNS - 1)
        total[turn] += 1
        pivots[turn] += candidate.selected
    columns = []
    for turn in range(max(total, default=-1) + 1):
        share = pivots[turn] / total[turn] if total[turn] else 0.0
        late = turn == MOST_TURNS - 1
        columns.append(
            Bar(
                f"{turn + 1}+" if late else str(turn + 1),
                (("pivot", share),),
                f"{pivots[turn]}/{total[turn]}",
                f"turn {turn + 1}{' and later' if late else ''}: {pivots[turn]} of {total[turn]} candidates are pivots",
            )
        )
    return bars(
        "Which turns are pivots",
        "Share of the candidates at each assistant turn that are pivots: "
        + ", ".join(f"turn {column.label} {column.caption}" for column in columns)
        + ".",
        columns,
        "assistant turn",
        "share that are pivots",
    )


def training_plots(metrics: Sequence[Mapping[str, float]]) -> list[Plot]:
    """The known curves that this run logged."""
    plots = []
    for curve in CURVES:
        drawn = []
        for column, name, style in curve.columns:
            points = tuple((row["step"], row[column]) for row in metrics if column in row)
            if points:
                drawn.append(Line(name, style, points, dots=column.startswith("validation/")))
        if drawn:
            legend = tuple((line.name, line.style, number(line.points[-1][1])) for line in drawn)
            described = "; ".join(
                f"{line.name} from {number(line.points[0][1])} to {number(line.points[-1][1])}" for line in drawn
            )
            svg = lines(curve.title, f"{curve.note}. {described}.", drawn, floor=curve.floor)
            plots.append(Plot(curve.title, curve.note, svg, legend))
    return plots


def phase_seconds(metrics: Sequence[Mapping[str, float]]) -> list[tuple[str, float, float, float]]:
    """Phases of a training step, the longest first: name, seconds in all, seconds a step, share."""
    totals: dict[str, float] = {}
    for row in metrics:
        for column, value in row.items():
            if column.startswith("seconds/"):
                name = column.removeprefix("seconds/")
                totals[name] = totals.get(name, 0.0) + value
    steps = sum(1 for row in metrics if any(column.startswith("seconds/") for column in row))
    everything = sum(totals.values())
    ordered = sorted(totals.items(), key=lambda item: -item[1])
    return [(name, value, value / steps, value / everything if everything else 0.0) for name, value in ordered]
