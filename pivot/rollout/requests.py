"""What may be asked of an engine, checked before it is asked."""

from collections.abc import Mapping, Sequence

from pivot.rollout.begun import Begun
from pivot.rollout.types import Sampling


def check_request(
    prompts: Sequence[list[int]], seeds: Sequence[int], n: int, sampling: Sampling, max_model_len: int
) -> None:
    """Refuses what no engine with a context of `max_model_len` tokens could sample.

    Raises:
        ValueError: a prompt that leaves no room for a token (its index, length and the limit), an empty one,
            other counts of prompts and seeds, or n > 1 at temperature 0.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts but {len(seeds)} seeds")
    if sampling.temperature == 0 and n != 1:
        raise ValueError(f"greedy completions are all the same: n must be 1 at temperature 0, not {n}")
    check_lengths(prompts, "prompt", max_model_len)


def check_begun(
    begun: Mapping[int, Sequence[Begun]],
    prompts: Sequence[list[int]],
    n: int,
    sampling: Sampling,
    max_model_len: int,
    routes: bool,
) -> None:
    """Refuses begun samples that an engine could not go on with, `n` a prompt.

    Raises:
        ValueError: with the index of the prompt and what is wrong.
    """
    if begun and routes:
        raise ValueError("an engine that returns routes has none of tokens that it did not sample in this call")
    for index, samples in begun.items():
        if len(samples) != n:
            raise ValueError(f"prompt {index} has {len(samples)} samples that were begun, not {n}")
        unfinished = [len(one.token_ids) for one in samples if one.finish_reason is None]
        if not unfinished:
            raise ValueError(f"prompt {index} has nothing left to sample")
        if max(unfinished) >= room(prompts[index], sampling, max_model_len):
            raise ValueError(f"prompt {index} has a sample of {max(unfinished)} tokens, which has no room for more")


def check_lengths(sequences: Sequence[list[int]], noun: str, max_model_len: int) -> None:
    """Refuses sequences that are empty or leave no room for a token.

    Raises:
        ValueError: with the index and length of the first one.
    """
    limit = max_model_len - 1
    for index, tokens in enumerate(sequences):
        if not 0 < len(tokens) <= limit:
            raise ValueError(
                f"{noun} {index} has {len(tokens)} tokens; between 1 and {limit} fit (max_model_len {max_model_len})"
            )


def room(prompt: Sequence[int], sampling: Sampling, max_model_len: int) -> int:
    """Most tokens that a completion of `prompt` may have."""
    return min(sampling.max_tokens, max_model_len - len(prompt))
