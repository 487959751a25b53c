"""Which samples go into which micro-batch of which data-parallel rank."""

import math
from collections.abc import Sequence


def plan(lengths: Sequence[int], ranks: int, budget: int) -> list[list[list[int]]]:
    """Spread samples over `ranks` data-parallel ranks in the same number of micro-batches each.

    Longest first into the emptiest bin (longest-processing-time rule), so token counts are level; ties go to the
    lower bin, so every rank computes the same plan. A bin may exceed the budget by less than one sample.

    Args:
        lengths: tokens of each sample.
        ranks: data-parallel size.
        budget: tokens wanted in a micro-batch.

    Returns:
        [ranks][micro-batches][sample indices], indices ascending in a bin. Bins are empty only where there are fewer
        samples than ranks; the policy takes an empty micro-batch.
    """
    count = max(1, min(math.ceil(sum(lengths) / (ranks * budget)), len(lengths) // ranks))
    bins: list[list[int]] = [[] for _ in range(ranks * count)]
    loads = [0] * len(bins)
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        target = min(range(len(bins)), key=lambda b: (loads[b], b))
        bins[target].append(index)
        loads[target] += lengths[index]
    return [[sorted(bins[rank * count + micro]) for micro in range(count)] for rank in range(ranks)]
