"""A small report for tests, with text that attacks the page."""

from pivot.report import Evaluation, Example, ExampleSample, MinedCandidate, ReportData, SeedResult


def report(hostile: str) -> ReportData:
    """A page whose every free text is `hostile`."""
    candidates = [
        MinedCandidate("id1", hostile, 0, 2, "call", (1.0, 0.0), 0.5, 0.25, True),
        MinedCandidate("id2", hostile, 1, 2, hostile, (0.0, 0.0), 0.0, 0.0, False),
        MinedCandidate("id3", hostile, 0, 1, "message", (1.0, 1.0), 1.0, 0.0, False),
    ]
    samples = (
        ExampleSample(hostile, 1.0, hostile),
        ExampleSample("plain", 0.0, "wrong tool"),
        ExampleSample("unjudged", None, "judge_timeout"),
    )
    return ReportData(
        title=hostile,
        summary={"train": {"steps": 2, hostile: 1.0}, "seconds": {"mine": 1.5, hostile: 2}, hostile: {"a": 1}},
        candidates=candidates,
        metrics=[
            {"step": 1.0, "reward_mean": 0.2, "seconds/train": 1.0, hostile: 1.0},
            {"step": 2.0, "reward_mean": 0.4, "seconds/train": 1.0, f"seconds/{hostile}": 1.0},
        ],
        evaluations=[Evaluation(hostile, (SeedResult(0, 30, 100, 50, 100), SeedResult(1, 32, 100, 52, 100)))],
        examples=[Example("0123456789abcdef", 1, 4, hostile, hostile, samples)],
    )
