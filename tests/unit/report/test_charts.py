"""Charts show the right numbers, as SVG that parses."""

from xml.etree import ElementTree

import pytest

from pivot.report.charts import phase_seconds, rewards_chart, training_plots, turns_chart
from pivot.report.data import MinedCandidate
from pivot.report.svg import Bar, Line, bars, lines, number, ticks


def candidate(turn: int, rewards: tuple[float, ...], selected: bool = False) -> MinedCandidate:
    mean = sum(rewards) / len(rewards)
    variance = sum((reward - mean) ** 2 for reward in rewards) / len(rewards)
    return MinedCandidate("c", "t", turn, 30, "call", rewards, mean, variance, selected)


CANDIDATES = [
    candidate(0, (0, 0, 0, 0)),
    candidate(0, (1, 0, 0, 0), selected=True),
    candidate(1, (1, 1, 1, 0)),
    candidate(1, (1, 1, 1, 1)),
    candidate(1, (1, 0, 0, 0), selected=True),
    candidate(25, (1, 1, 0, 0), selected=True),
]


def tooltips(svg: str) -> list[str]:
    return [title.text or "" for title in ElementTree.fromstring(svg).findall("./g/title")]


def test_rewards_by_level() -> None:
    assert tooltips(rewards_chart(CANDIDATES)) == [
        "mean reward all 0: 1 candidates, 0 pivots",
        "mean reward 0.25: 2 candidates, 2 pivots",
        "mean reward 0.5: 1 candidates, 1 pivots",
        "mean reward 0.75: 1 candidates, 0 pivots",
        "mean reward all 1: 1 candidates, 0 pivots",
    ]


def test_mixed_groups_never_count_as_all_0_or_all_1() -> None:
    many = [candidate(0, (1, *[0] * 63)), candidate(0, (0, *[1] * 63))]
    shown = tooltips(rewards_chart(many))
    assert shown[0] == "mean reward all 0: 0 candidates, 0 pivots"
    assert shown[-1] == "mean reward all 1: 0 candidates, 0 pivots"
    assert shown[1] == "mean reward 0.06: 1 candidates, 0 pivots"
    assert shown[-2] == "mean reward 0.94: 1 candidates, 0 pivots"


def test_turns_with_a_last_column_for_late_ones() -> None:
    shown = tooltips(turns_chart(CANDIDATES))
    assert shown[0] == "turn 1: 1 of 2 candidates are pivots"
    assert shown[1] == "turn 2: 1 of 3 candidates are pivots"
    assert shown[2] == "turn 3: 0 of 0 candidates are pivots"
    assert shown[19] == "turn 20 and later: 1 of 1 candidates are pivots"
    assert len(shown) == 20


def test_bar_heights_are_proportional() -> None:
    svg = ElementTree.fromstring(bars("t", "d", [Bar("a", (("pivot", 3), ("other", 1)), "", "")], "x", "y"))
    first, second = (float(rect.attrib["height"]) for rect in svg.iter("rect"))
    assert first == pytest.approx(3 * second, rel=0.01)
    assert svg.attrib["role"] == "img"
    assert [svg.findtext("title"), svg.findtext("desc")] == ["t", "d"]


def test_known_curves_only_with_last_values() -> None:
    metrics = [
        {"step": 1.0, "reward_mean": 0.25, "custom": 1.0},
        {"step": 2.0, "reward_mean": 0.5, "validation/reward_mean": 0.375},
    ]
    plots = training_plots(metrics)
    assert [(plot.title, plot.legend) for plot in plots] == [
        ("Reward", (("train", "s1", "0.5"), ("held out", "s2", "0.375")))
    ]
    assert "train from 0.25 to 0.5; held out from 0.375 to 0.375." in plots[0].svg


def test_line_skips_what_is_not_finite() -> None:
    points = ((1.0, 0.0), (2.0, float("nan")), (3.0, float("inf")), (4.0, 1.0))
    svg = ElementTree.fromstring(lines("t", "d", [Line("a", "s1", points)]))
    assert len(svg.find("polyline").attrib["points"].split()) == 2  # type: ignore[union-attr]
    assert "no values" in lines("t", "d", [Line("a", "s1", ((1.0, float("nan")),))])


def test_chart_text_is_escaped() -> None:
    svg = bars("<script>", "a & b", [Bar("<b>", (("pivot", 1),), "\"'", "<i>")], "x", "y")
    root = ElementTree.fromstring(svg)
    assert root.findtext("title") == "<script>"
    assert root.findtext("./g/title") == "<i>"


def test_phase_seconds_longest_first() -> None:
    metrics = [
        {"step": 1.0, "seconds/train": 1.0, "seconds/swap": 0.5},
        {"step": 2.0, "seconds/train": 2.0, "seconds/swap": 0.5},
        {"step": 3.0, "validation/reward_mean": 1.0},
    ]
    assert phase_seconds(metrics) == [("train", 3.0, 1.5, 0.75), ("swap", 1.0, 0.5, 0.25)]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.25, "0.25"), (1200.4, "1,200"), (3.14e-6, "3.1e-06"), (-0.5, "-0.5"), (float("nan"), "nan")],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


def test_ticks_span_their_values() -> None:
    assert ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1]
    assert ticks(0, 222) == [0, 100, 200, 300]
    for low, high in ((0.3, 0.3), (-1.0, 2.0), (1e-7, 4e-6), (5, 5)):
        marks = ticks(low, high)
        assert marks[0] <= low
        assert marks[-1] >= high
        assert len(marks) >= 2
