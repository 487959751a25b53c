"""What makes a profile stale."""

from pathlib import Path

import pytest

from pivot.errors import UserError
from pivot.mine.adaptive import Plan
from pivot.mine.fingerprint import fingerprint, prompt_sha, weights_sha
from pivot.mine.select import rule
from pivot.rollout.types import Sampling
from tests.unit.mine.fakes import SCORER


def made_by(tmp_path: Path, plan: Plan) -> dict[str, object]:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    prompt = prompt_sha("keep", "hermes")
    sampling = Sampling(1.0, 1.0, 8)
    return fingerprint(
        tmp_path, "{{ messages }}", prompt, SCORER.verifiers, sampling, plan, max_model_len=64, dtype="float32", seed=0
    )


def test_the_rule_counts_only_where_it_decides_when_sampling_stops(tmp_path: Path) -> None:
    assert made_by(tmp_path, Plan((8,), rule("paper"))) == made_by(tmp_path, Plan((8,), rule("hard"), 0.1, 0.1))
    adaptive = made_by(tmp_path, Plan((4, 4), rule("paper")))
    assert adaptive["group_size"] == 8
    for other in (
        Plan((8,), rule("paper")),
        Plan((2, 6), rule("paper")),
        Plan((4, 4), rule("hard")),
        Plan((4, 4), rule("paper", max_mean=0.5)),
        Plan((4, 4), rule("paper"), 0.1),
        Plan((4, 4), rule("paper"), 0.0, 0.1),
    ):
        assert made_by(tmp_path, other)["adaptive"] != adaptive["adaptive"]


def test_prompt_rules_and_parser_count() -> None:
    shas = {prompt_sha("keep", "hermes"), prompt_sha("strip", "hermes"), prompt_sha("keep", "llama3_json")}
    assert len(shas) == 3
    assert prompt_sha("keep", "hermes") in shas


def test_weights_count_and_have_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no \*\.safetensors file here"):
        weights_sha(tmp_path)
    (tmp_path / "a.safetensors").write_bytes(b"one")
    before = weights_sha(tmp_path)
    (tmp_path / "a.safetensors").write_bytes(b"two")
    assert weights_sha(tmp_path) != before
