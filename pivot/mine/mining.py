"""Mining: profile every candidate under the frozen policy with G one-turn samples (paper §3, eq. 5 and 6)."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from pivot.mine.adaptive import Plan
from pivot.mine.groups import Group, Sampled, Scorer, Turn, sample_seed, verify
from pivot.mine.store import Shard, StoredProfile, StoredSample
from pivot.rollout.types import Sampling
from pivot.verify.types import ERROR

if TYPE_CHECKING:
    from pivot.rollout.replica import Replica


class Samples(Protocol):
    """The part of the engine that mining uses."""

    @property
    def replica(self) -> "Replica":
        """The ranks that mine with this engine, all of them the same turns."""

    def sample(
        self, prompts: Sequence[list[int]], seeds: Sequence[int], n: int, sampling: Sampling
    ) -> Sequence[Sequence[Sampled]]: ...


def mine(
    turns: Sequence[Turn],
    engine: Samples,
    shard: Shard | None,
    scorer: Scorer,
    plan: Plan,
    *,
    wave: int,
    seed: int,
    sampling: Sampling,
    progress: Callable[[], None],
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Sample, verify, store, wave by wave: what is stored is done, and a kill loses at most the wave in flight.

    Args:
        turns: this replica's share of what is not in the store yet, in prefix order; the same on all its ranks.
        engine: holds the policy that will be trained; difficulty does not carry over between models.
        shard: this replica's part of the store; None on ranks that are not its first.
        scorer: functional equivalence to the expert's action.
        plan: G, and whether candidates whose outcome is settled get fewer samples.
        wave: turns between two writes.
        seed: of the run; a sample depends on it and on the candidate alone.
        sampling: temperature, nucleus, length.
        progress: called after every wave that is on disk.
        stop: asked before every wave, whether to leave the rest to another start.

    Returns:
        Whether all turns are done.
    """
    for start in range(0, len(turns), wave):
        if engine.replica.from_first(stop()):
            return False
        part = turns[start : start + wave]
        drawn: list[list[StoredSample]] = [[] for _ in part]
        for count in plan.waves:
            live = [i for i, samples in enumerate(drawn) if not plan.settled([sample.reward for sample in samples])]
            asked = [part[i] for i in live]
            seeds = [sample_seed(seed, part[i].candidate.candidate_id) + len(drawn[i]) for i in live]
            samples = engine.sample([list(turn.prompt) for turn in asked], seeds, count, sampling)
            # Verdicts are the first rank's: a judge need not say the same twice, and ranks have to go on alike.
            groups = verify(asked, samples, scorer) if engine.replica.placement.first else []
            for i, more in zip(live, engine.replica.from_first([stored(group) for group in groups]), strict=True):
                drawn[i] += more
        ids = [turn.candidate.candidate_id for turn in part]
        if shard is not None:
            shard.append(StoredProfile(name, tuple(samples)) for name, samples in zip(ids, drawn, strict=True))
        progress()
    return True


def stored(group: Group) -> list[StoredSample]:
    """What is kept of a group: enough to select, to explain and to show."""
    return [
        StoredSample(
            sample.text,
            None if verdict.status == ERROR else verdict.reward,
            verdict.reason,
            len(sample.token_ids),
            verdict.used,
        )
        for sample, verdict in zip(group.samples, group.verdicts, strict=True)
    ]
