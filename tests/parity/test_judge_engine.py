"""A judge on the colocated engine: its replies are the engine's own, and gibberish is an error, not a zero."""

from pathlib import Path

from tests.parity.launch import ROOT, launch


def test_the_engine_answers_a_judge() -> None:
    said = launch(
        Path(__file__).parent / "judge_workers.py", "judging", 1, kind="engine", path=ROOT / "pivot/world/tiny-moe"
    )[0]
    assert said["reply"] == said["sampled"]
    assert said["reply"]
    assert said["no_room"] is None
    # Two million parameters know no verdicts: what they say must not count as "different".
    assert said["verdict"] == (0.0, "judge_unparsable", "error")
