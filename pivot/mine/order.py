"""The order in which candidates are sampled, so that the engine's prefix cache is worth most."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from pivot.trajectory.identity import message_digest, tools_digest
from pivot.trajectory.types import Candidate, Message


def prefix_order(candidates: Sequence[Candidate]) -> list[int]:
    """Indices of the candidates in depth-first order of the tree that their histories form.

    A history comes right before the histories that extend it, the shortest first, so the nested prefixes of a
    trajectory follow one another, and so do trajectories that begin alike. The order depends only on the
    contents.
    """
    # Candidates that were cut from one trajectory share its message objects: each is hashed once.
    known: dict[int, str] = {}

    def digest(message: Message) -> str:
        if id(message) not in known:
            known[id(message)] = message_digest(message)
        return known[id(message)]

    def key(index: int) -> tuple[str, ...]:
        candidate = candidates[index]
        path = [digest(message) for message in candidate.messages]
        # The empty text sorts before every digest, so a history comes before its extensions.
        return (tools_digest(candidate.tools), *path, "", candidate.candidate_id)

    return sorted(range(len(candidates)), key=key)


def split_contiguous(weights: Sequence[float], parts: int) -> list[range]:
    """Cut a sequence into contiguous parts of about equal weight, one a rank.

    Args:
        weights: Work of each item (not negative), in prefix order.
        parts: Number of ranks.

    Returns:
        `parts` ranges that cover all indices in order; some are empty when there are fewer items than parts.
    """
    if parts < 1:
        raise ValueError(f"cannot split into {parts} parts")
    sums = [0.0, *accumulate(weights)]
    cuts = [0]
    for part in range(1, parts):
        goal = sums[-1] * part / parts
        after = bisect_left(sums, goal)
        # Of the two cuts around the goal the nearer one.
        nearer = after - 1 if after > 0 and goal - sums[after - 1] < sums[after] - goal else after
        cuts.append(max(nearer, cuts[-1]))
    cuts.append(len(weights))
    return [range(start, end) for start, end in pairwise(cuts)]


def distinct_tokens(prompts: Iterable[Sequence[int]]) -> int:
    """Tokens of the tree that prompts form when common beginnings are stored once.

    It is the least that a prefill can compute. In sorted order every prompt shares its longest known beginning with
    its predecessor, so the sum of what lies behind that is the exact size of the tree.
    """
    total = 0
    before: tuple[int, ...] = ()
    for prompt in sorted(map(tuple, prompts)):
        total += len(prompt) - common_prefix(before, prompt)
        before = prompt
    return total


def common_prefix(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Length of the longest common beginning, by bisection: slices are compared at the speed of C."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
