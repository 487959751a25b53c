"""What runs in the processes of the tests of routes and of early stops: one engine, and Hugging Face beside it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from pivot.rollout import Completion, Sampling, prepare_environment

prepare_environment()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from pivot.rollout import Engine  # noqa: E402
from pivot.rollout.begun import NOTHING, Begun  # noqa: E402
from pivot.swap import Manifest, push  # noqa: E402
from tests.parity.replay_reference import own_routes  # noqa: E402
from tests.parity.swap_workers import CONTEXT, HOT, HfPolicy, message, prompts  # noqa: E402

Groups = Sequence[Sequence[Completion]]


def against_hugging_face(policy: HfPolicy, asked: list[list[int]], drawn: Groups) -> dict[str, int]:
    """How many (token, layer) have the experts that Hugging Face chooses, others, and none."""
    counts = {"equal": 0, "other": 0, "missing": 0}
    for prompt, group in zip(asked, drawn, strict=True):
        for completion in group:
            routes = completion.routes
            assert routes is not None
            expected = own_routes(policy.model, torch.tensor([*prompt, *completion.token_ids])[:-1]).numpy()
            assert routes.whole.shape == expected.shape
            assert routes.whole.dtype == np.int16
            missing = (routes.whole < 0).any(-1)
            equal = (np.sort(routes.whole, -1) == np.sort(expected, -1)).all(-1) & ~missing
            counts["equal"] += int(equal.sum())
            counts["missing"] += int(missing.sum())
            counts["other"] += int((~equal & ~missing).sum())
    return counts


def capture(path: Path, dense: Path) -> dict[str, Any]:
    """Routes of fresh prompts, of prompts that lie in the cache, of preempted ones, and after new weights."""
    engine, policy = Engine(path, max_model_len=CONTEXT, routes=True), HfPolicy(path)
    asked, seeds = prompts(5, length=140), [100 * i for i in range(5)]
    result: dict[str, Any] = {}
    drawn = engine.sample(asked, seeds, 4, HOT)
    result["fresh"] = against_hugging_face(policy, asked, drawn)
    result["shared"] = all(one.routes.prompt is group[0].routes.prompt for group in drawn for one in group)  # type: ignore[union-attr]
    before = engine.prefill_tokens
    again = engine.sample(asked, [7 + s for s in seeds], 4, HOT)
    result["cached"] = against_hugging_face(policy, asked, again)
    result["computed"] = engine.prefill_tokens - before
    engine.score([asked[0][:50]])
    policy.move(1)
    push(policy, engine, Manifest.from_checkpoint(path), "1")
    result["pushed"] = against_hugging_face(policy, asked, engine.sample(asked, seeds, 2, HOT))
    result["without"] = Engine(path, max_model_len=CONTEXT).sample(asked[:1], [0], 1, HOT)[0][0].routes
    result["crowded"], result["preempted"] = crowded(path)
    result["tails"] = message(lambda: Engine(path, max_model_len=CONTEXT, routes=True, share_tails=True))
    result["dense"] = message(lambda: Engine(dense, max_model_len=CONTEXT, routes=True))
    return result


def crowded(path: Path) -> tuple[dict[str, int], int]:
    """As `against_hugging_face`, of an engine that throws out running requests; and how often it did."""
    from vllm.v1.core.sched.scheduler import Scheduler

    asked, thrown = prompts(6, 115), []
    original = Scheduler._preempt_request

    def counted(self: Any, request: Any, *rest: Any, **named: Any) -> Any:
        thrown.append(request.request_id)
        return original(self, request, *rest, **named)

    Scheduler._preempt_request = counted
    # 4 blocks of 128 tokens: every sequence grows from its first block into a second
    with Engine(path, max_model_len=CONTEXT, max_num_seqs=32, kv_cache_bytes=1 << 20, routes=True) as small:
        drawn = small.sample(asked, [100 * i for i in range(6)], 4, HOT)
    Scheduler._preempt_request = original
    return against_hugging_face(HfPolicy(path), asked, drawn), len(thrown)


def stopping(path: Path) -> dict[str, Any]:
    """An engine that is told when it is enough."""
    engine = Engine(path, max_model_len=CONTEXT, max_num_seqs=8, routes=True)
    asked, seeds = prompts(8), [100 * i for i in range(8)]
    whole = engine.sample(asked, seeds, 3, HOT)
    result: dict[str, Any] = {"whole": whole, "aborted before": engine.aborted_tokens}
    stopped = []
    for _ in range(2):
        engine.forget_prefixes()
        seen: list[int] = []

        def enough(index: int, samples: list[Completion], seen: list[int] = seen) -> bool:
            assert len(samples) == 3
            seen.append(index)
            return len(seen) >= 2

        aborted = engine.aborted_tokens
        stopped.append((engine.sample(asked, seeds, 3, HOT, enough=enough), seen, engine.aborted_tokens - aborted))
    result["stopped"] = stopped
    result["after"] = engine.sample(asked, seeds, 3, HOT)
    return result


def going_on(path: Path, share_tails: bool) -> dict[str, Any]:
    """Samples that one version of the weights begins and the next one ends, and what each says of its own tokens."""
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=24)  # `score` is at temperature 1
    engine, policy = Engine(path, max_model_len=CONTEXT, max_num_seqs=8, share_tails=share_tails), HfPolicy(path)
    asked, seeds, steps = prompts(8), [100 * i for i in range(8)], count()
    engine.sample(asked, seeds, 3, sampling, give_up=lambda: next(steps) > 30)  # amid the second eight samples
    left, aborted = engine.left, engine.aborted_tokens
    rest = sorted(left)
    begun = {place: left[index] for place, index in enumerate(rest)}
    behind = [asked[index] for index in rest]
    old = [engine.score([[*prompt, *one.token_ids] for one in begun[i]]) for i, prompt in enumerate(behind)]
    policy.move(1)
    push(policy, engine, Manifest.from_checkpoint(path), "1")
    drawn = []
    for _ in range(2):
        engine.forget_prefixes()
        drawn.append(engine.sample(behind, [7 + s for s in seeds[: len(rest)]], 3, sampling, begun=begun))
    new = [
        engine.score([[*prompt, *one.token_ids] for one in group])
        for prompt, group in zip(behind, drawn[0], strict=True)
    ]
    full = Begun((5,) * 24, (0.0,) * 24, (("0", 24),), None)
    ended = Begun((5,), (0.0,), (("0", 1),), "stop")
    refused = [
        message(partial(engine.sample, asked[:1], [0], 2, sampling, begun={0: samples}))
        for samples in ([NOTHING], [ended, ended], [NOTHING, full])
    ]
    return {
        "begun": begun, "aborted": aborted, "prompts": [len(prompt) for prompt in behind], "old": old,
        "drawn": drawn, "new": new, "left": engine.left, "refused": refused,
    }  # fmt: skip
