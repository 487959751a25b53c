"""One question to the colocated engine, for a judge that needs no server."""

from collections.abc import Callable
from typing import Any

from pivot.errors import UserError
from pivot.rollout.engine import Engine
from pivot.rollout.types import Sampling


def chat(engine: Engine) -> Callable[[str, int], str | None]:
    """A function of (question, most tokens of the reply) that answers greedily with the engine's current weights.

    The reply is None where the question leaves no room in the context. One question at a time: the engine is no server.

    Raises:
        UserError: the engine is part of a replica of several ranks, which only answers when all of them ask.
    """
    if engine.placement.tensor > 1:
        raise UserError(
            f"a judge cannot ask the colocated engine with rollout.tensor {engine.placement.tensor}: set "
            "rollout.tensor=1, or give the judge a url"
        )
    tokenizer: Any = engine.tokenizer

    def ask(text: str, max_tokens: int) -> str | None:
        turn = [{"role": "user", "content": text}]
        prompt = list(tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False))
        if len(prompt) >= engine.max_model_len:
            return None
        ((reply,),) = engine.sample([prompt], [0], 1, Sampling(0.0, 1.0, max_tokens))
        return reply.text

    return ask
