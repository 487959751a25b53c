"""Mining: profile every candidate under the frozen policy with G one-turn samples (paper §3, eq. 5 and 6)."""

from collections.abc import Callable, Sequence
from typing import Protocol

from pivot.mine.groups import Group, Sampled, Scorer, Turn, sample_seed, verify
from pivot.mine.store import Shard, StoredProfile, StoredSample
from pivot.rollout.types import Sampling


class Samples(Protocol):
    """The part of the engine that mining uses."""

    def sample(
        self, prompts: Sequence[list[int]], seeds: Sequence[int], n: int, sampling: Sampling
    ) -> Sequence[Sequence[Sampled]]: ...


def mine(
    turns: Sequence[Turn],
    engine: Samples,
    shard: Shard,
    scorer: Scorer,
    *,
    group_size: int,
    wave: int,
    seed: int,
    sampling: Sampling,
    progress: Callable[[], None],
) -> None:
    """Sample, verify, store, wave by wave: what is stored is done, and a kill loses at most the wave in flight.

    Args:
        turns: this rank's share of what is not in the store yet, in prefix order.
        engine: holds the policy that will be trained; difficulty does not carry over between models.
        shard: this rank's part of the store.
        scorer: functional equivalence to the expert's action.
        group_size: G.
        wave: turns between two writes.
        seed: of the run; a sample depends on it and on the candidate alone.
        sampling: temperature, nucleus, length.
        progress: called after every wave that is on disk.
    """
    for start in range(0, len(turns), wave):
        part = turns[start : start + wave]
        seeds = [sample_seed(seed, turn.candidate.candidate_id) for turn in part]
        samples = engine.sample([list(turn.prompt) for turn in part], seeds, group_size, sampling)
        groups = verify(part, samples, scorer)
        shard.append(record(group) for group in groups)
        progress()


def record(group: Group) -> StoredProfile:
    """What is kept of a group: enough to select, to explain and to show."""
    return StoredProfile(
        group.turn.candidate.candidate_id,
        tuple(
            StoredSample(sample.text, verdict.reward, verdict.reason, len(sample.token_ids))
            for sample, verdict in zip(group.samples, group.verdicts, strict=True)
        ),
    )
