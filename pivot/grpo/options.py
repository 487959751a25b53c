"""What the `grpo` section of a configuration may hold; free of torch, for it is read before anything heavy."""

from collections.abc import Mapping
from typing import Any

CHOICES = {
    "advantage": ("group", "leave_one_out", "mean", "unnormalised"),
    "reduction": ("token", "sequence", "group"),
    "kl_estimator": ("k1", "k2", "k3"),
    "kl_in": ("loss", "reward"),
    "old_logprobs": ("policy", "engine"),
    "mismatch": ("none", "token_tis", "sequence_tis", "icepop"),
}
"""The names that an option may be given; `pivot.grpo` has a function or a branch for each."""


def rules(values: Mapping[str, Any]) -> list[tuple[str, Any, bool, str]]:
    """(key, value, whether it can be used, what it must be) of every option, given all of them by name."""
    dual, threshold, penalty = (values[name] for name in ("clip_dual", "sequence_threshold", "malformed_advantage"))
    doubled = values["old_logprobs"] == "engine" and values["mismatch"] != "none"
    chosen = [(name, values[name] in known, f"one of {', '.join(known)}") for name, known in CHOICES.items()]
    ranges = [
        ("malformed_advantage", penalty is None or penalty < 0, "null or negative"),
        ("clip_low", 0 <= values["clip_low"] <= 1, "from 0 to 1"),
        ("clip_high", values["clip_high"] >= 0, "at least 0"),
        ("clip_dual", dual is None or dual > 1, "null or greater than 1"),
        ("entropy", values["entropy"] >= 0, "at least 0"),
        ("kl_coefficient", values["kl_coefficient"] >= 0, "at least 0"),
        ("mismatch", not doubled, "none with grpo.old_logprobs=engine: the ratio itself holds the mismatch there"),
        ("mismatch_cap", values["mismatch_cap"] >= 1, "at least 1"),
        ("icepop_low", 0 <= values["icepop_low"] <= 1, "from 0 to 1"),
        ("icepop_high", values["icepop_high"] >= 1, "at least 1"),
        ("sequence_threshold", threshold is None or threshold > 1, "null or greater than 1"),
    ]
    return [(f"grpo.{name}", values[name], ok, wanted) for name, ok, wanted in chosen + ranges]
