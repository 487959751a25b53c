"""What may be asked of an engine, checked before it is asked."""

from collections.abc import Sequence

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
