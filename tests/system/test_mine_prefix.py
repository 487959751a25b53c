"""Prompts that share every token they begin with: the same samples as vLLM's own, and no token computed twice."""

import json
import subprocess
import sys

import pytest

from tests.system.running import ROOT

SCRIPT = """
import json, random
from pivot.rollout import Engine, Sampling, prepare_environment
prepare_environment()
from pivot.demo.run import CHECKPOINT
from pivot.mine.order import distinct_tokens

source = random.Random(0)
def draw(length):
    return [source.randrange(4, 1000) for _ in range(length)]

system = draw(45)
prompts = []
for _ in range(5):                        # trajectories: nested prompts behind a common beginning
    prompt = system + draw(source.randrange(5, 20))
    for _ in range(4):
        prompts.append(prompt)
        prompt = prompt + draw(source.randrange(1, 40))
shuffled = source.sample(range(len(prompts)), len(prompts))
distinct, found = distinct_tokens(prompts), {"prompts": len(prompts)}

def samples(engine, order):
    said = engine.sample([prompts[i] for i in order], [100 * i for i in order], 4, Sampling(1.0, 1.0, 24))
    return [[one.token_ids for one in said[order.index(i)]] for i in range(len(prompts))]

def engine(**options):
    return Engine(CHECKPOINT, max_model_len=256, max_num_seqs=32, **options)

with engine() as stock:
    wanted = samples(stock, range(len(prompts)))
    found["stock"] = stock.prefill_tokens - distinct
with engine(share_tails=True) as shared:
    for name, order in (("prefix", list(range(len(prompts)))), ("shuffled", shuffled)):
        shared.forget_prefixes()
        shared.prefill_tokens = 0
        found[name + " same"] = samples(shared, order) == wanted
        found[name] = shared.prefill_tokens - distinct
with engine(share_tails=True, kv_cache_bytes=1 << 20) as tight:   # 16 blocks: requests are thrown out and come back
    scheduler = tight._llm.llm_engine.engine_core.engine_core.scheduler
    thrown, preempt = [], scheduler._preempt_request
    def count(request, *rest, **options):
        thrown.append(request.request_id)
        preempt(request, *rest, **options)
    scheduler._preempt_request = count
    found["tight same"] = samples(tight, shuffled) == wanted
    found["thrown out"] = len(thrown)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, int]:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_samples_are_those_of_whole_blocks(found: dict[str, int]) -> None:
    assert found["prefix same"]
    assert found["shuffled same"]


def test_every_token_of_the_prefix_tree_is_computed_once_and_the_last_one_by_every_sample(
    found: dict[str, int],
) -> None:
    assert found["prefix"] == 3 * found["prompts"]
    assert found["stock"] > 3000


def test_in_any_order_a_prompt_that_others_contain_costs_one_token_more(found: dict[str, int]) -> None:
    assert found["prefix"] < found["shuffled"] <= 4 * found["prompts"]


def test_requests_that_are_thrown_out_of_the_cache_come_back(found: dict[str, int]) -> None:
    assert found["thrown out"] > 0
    assert found["tight same"]
