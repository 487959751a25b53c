"""Adaptive profiling: how many samples a candidate gets before its outcome is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, exp, fsum, lgamma

from pivot.mine.select import Rule, moments, profile


@dataclass(frozen=True, slots=True)
class Plan:
    """Samples are drawn in waves; between two waves, candidates whose outcome is settled drop out.

    The outcome is the class at G (`all0`, `mixed`, `all1`) and what the selection rule makes of it. Sample i has
    the same seed in every plan: the samples of an adaptive run are the first ones of a run that draws all G.

    Attributes:
        waves: Samples of each wave; together G. One wave draws them all at once.
        rule: Of selection.
        error_rate: A candidate is settled when the chance that the samples left out would change its outcome is
            at most this. 0: only when they cannot.
        prior: Chances of success are distributed Beta(prior, prior) before the first sample: 1 is uniform, 0.5
            Jeffreys' prior; the smaller, the more candidates are always solved or never.
    """

    waves: tuple[int, ...]
    rule: Rule
    error_rate: float = 0.0
    prior: float = 0.5

    @property
    def group_size(self) -> int:
        """G."""
        return sum(self.waves)

    def settled(self, rewards: Sequence[float | None]) -> bool:
        """Whether a candidate needs no more samples than these (None: no verdict on it)."""
        left = self.group_size - len(rewards)
        valid = [reward for reward in rewards if reward is not None]
        if left <= 0:
            return True
        if len(valid) < 2:
            return False
        if decided(valid, left, self.rule):
            return True
        return self.error_rate > 0.0 and chance_to_change(valid, left, self.rule, self.prior) <= self.error_rate


def decided(rewards: Sequence[float], left: int, rule: Rule) -> bool:
    """Whether no further rewards, whatever they are, can change class or selection.

    Differing rewards stay differing, so `mixed` is decided as soon as two rewards differ. The mean of all G then
    lies in [sum / G, (sum + left) / G], and a sample without a verdict only narrows that: both ends have to lie
    on the same side of the rule's bound. Equal rewards are never decided: the next one may differ.
    """
    if moments(rewards)[1] == 0.0:
        return False
    total, size = sum(rewards), len(rewards) + left
    return rule.below(total / size) == rule.below((total + left) / size)


def chance_to_change(rewards: Sequence[float], left: int, rule: Rule, prior: float) -> float:
    """Chance that `left` more rewards change class or selection.

    The posterior predictive: rewards are taken for successes (a partial reward for a part of one) of a chance with
    a Beta(prior, prior) distribution, so the successes among the samples left out are beta-binomial.
    """
    total = sum(rewards)
    alpha, beta = prior + total, prior + len(rewards) - total
    now = outcome(rewards, rule)
    ends = ([*rewards, *[1.0] * successes, *[0.0] * (left - successes)] for successes in range(left + 1))
    same = [successes for successes, final in enumerate(ends) if outcome(final, rule) == now]
    return 1.0 - fsum(_beta_binomial(successes, left, alpha, beta) for successes in same)


def outcome(rewards: Sequence[float], rule: Rule) -> tuple[str, str | None]:
    """Class and reason to be cut of a candidate with these rewards."""
    item = profile("", rewards)
    return item.kind, rule.reason_to_cut(item)


def _beta_binomial(successes: int, trials: int, alpha: float, beta: float) -> float:
    log = _log_beta(alpha + successes, beta + trials - successes) - _log_beta(alpha, beta)
    return comb(trials, successes) * exp(log)


def _log_beta(alpha: float, beta: float) -> float:
    return lgamma(alpha) + lgamma(beta) - lgamma(alpha + beta)
