"""From the configuration to the update: every key of the GRPO section arrives."""

import dataclasses
import re
from pathlib import Path

import pytest

from pivot.config import GrpoSection, load
from pivot.grpo.losses import Clip, Kl
from pivot.grpo.mismatch import Correction
from pivot.grpo.objective import Objective
from recipes.train import objective

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "train.py"


def test_the_defaults_are_on_policy_with_capped_token_weights_and_nothing_else() -> None:
    wanted = Objective(Clip(0.2, 0.2, None), Correction("token_tis", 5.0), old_logprobs="policy", entropy=0.0, kl=None)
    assert objective(GrpoSection()) == wanted


def test_every_option_of_the_loss_arrives() -> None:
    options = (
        "clip_low=0.1 clip_high=0.3 clip_dual=4 entropy=0.01 kl_coefficient=0.2 kl_estimator=k1 kl_in=reward "
        "mismatch=icepop mismatch_cap=7 icepop_low=0.4 icepop_high=6 sequence_threshold=1.5"
    )
    config = load(None, [f"grpo.{option}" for option in options.split()])
    correction = Correction("icepop", 7.0, 0.4, 6.0, 1.5)
    wanted = Objective(Clip(0.1, 0.3, 4.0), correction, "policy", 0.01, Kl(0.2, "k1", "reward"))
    assert objective(config.grpo) == wanted
    assert objective(load(None, ["grpo.old_logprobs=engine", "grpo.mismatch=none"]).grpo).old_logprobs == "engine"


@pytest.mark.parametrize("key", [item.name for item in dataclasses.fields(GrpoSection)])
def test_no_key_is_dead(key: str) -> None:
    assert re.search(rf"\bgrpo\.{key}\b", RECIPE.read_text())
