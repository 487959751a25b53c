"""The optimizer's section of a configuration: what is read and what is refused."""

import pytest

from pivot.config import load
from pivot.errors import UserError
from pivot.train.options import ROUNDED_LIMITS, ParameterRule, probe_limits


def test_rules_are_read_from_a_list_of_mappings() -> None:
    text = "optimizer.rules=[{match: router, lr: 0.1}, {match: 'decoder.layers.0.*', weight_decay: 0}]"
    assert load(None, [text]).optimizer.rules == [
        ParameterRule("router", lr=0.1),
        ParameterRule("decoder.layers.0.*", weight_decay=0.0),
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.schedule=linear", "'optimizer.schedule' is 'linear': it must be null or one of constant, cosine"),
        ("optimizer.min_lr_ratio=1.5", "'optimizer.min_lr_ratio' is 1.5: it must be from 0 to 1"),
        ("optimizer.warmup_steps=-1", "'optimizer.warmup_steps' is -1: it must be 0 or more"),
        ("optimizer.clip_grad=-1", "'optimizer.clip_grad' is -1.0"),
        ("optimizer.offload=1.5", "'optimizer.offload' is 1.5: it must be a share from 0 to 1"),
        ("optimizer.offload=0.5", "'optimizer.offload' is 0.5: it must be 0 unless optimizer.distributed is true"),
        ("optimizer.rules=[{lr: 0.1}]", "'optimizer.rules[0].match'"),
        ("optimizer.rules=[{match: a, lr: 1}, {match: b}]", "'optimizer.rules[1]' is {'match': 'b', 'lr': None"),
        ("optimizer.rules=[{match: a, lr: -1}]", "it must be {match: …} with lr, weight_decay or both, 0 or more"),
        ("optimizer.rules=[{match: a, lrr: 1}]", "unknown configuration key 'lrr'"),
        ("optimizer.rules=[router]", "'optimizer.rules[0]'"),
    ],
)
def test_what_cannot_be_used_is_named(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(None, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_probes_limits_follow_what_is_rounded_unless_they_are_given() -> None:
    assert probe_limits(None, None, dtype="float32", fp8=None) == (1e-3, 1e-3)
    assert probe_limits(None, None, dtype="float32", fp8="block") == ROUNDED_LIMITS
    assert probe_limits(None, None, dtype="bfloat16", fp8=None) == ROUNDED_LIMITS
    assert probe_limits(0.5, None, dtype="bfloat16", fp8="mxfp8") == (0.5, ROUNDED_LIMITS[1])
    assert probe_limits(None, 0.5, dtype="float32", fp8=None) == (1e-3, 0.5)
