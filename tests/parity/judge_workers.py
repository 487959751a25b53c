"""What runs in the process of the judge's test: the tiny model judges, badly, on a real engine."""

from pathlib import Path
from typing import Any

from pivot.rollout import Sampling, prepare_environment

prepare_environment()

from pivot.rollout import Engine  # noqa: E402
from pivot.rollout.chat import chat  # noqa: E402
from pivot.trajectory import Action  # noqa: E402
from pivot.verify import Context, build  # noqa: E402


def judging(path: Path) -> dict[str, Any]:
    """Replies of the engine to a question, and the verdict they come to."""
    with Engine(path, dtype="float32", max_model_len=1024, max_num_seqs=4, kv_cache_bytes=64 << 20) as engine:
        ask = chat(engine)
        turn = [{"role": "user", "content": "Capital: Golda"}]
        prompt = list(engine.tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False))
        verifier = build({"name": "judge", "max_tokens": 16, "history_messages": 0})
        verdict = verifier(Action("Hello there."), Action("Hello!"), Context(ask=ask))
        return {
            "reply": ask("Capital: Golda", 16),
            "sampled": engine.sample([prompt], [0], 1, Sampling(0.0, 1.0, 16))[0][0].text,
            "no_room": ask("x " * 3000, 16),
            "verdict": (verdict.reward, verdict.reason, verdict.status),
        }
