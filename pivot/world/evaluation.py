"""Evaluate a model in the embedded world: whole episodes in-domain, exact-match questions out of domain."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pivot.mine.groups import sample_seed
from pivot.prompt import ParseAction, PromptEncoder, PromptError
from pivot.rollout.types import Completion, Sampling
from pivot.trajectory.types import Action, Message, Tool
from pivot.world.episodes import run_episodes
from pivot.world.skills import Question, score_answer
from pivot.world.tasks import Task


class Speaker(Protocol):
    """The part of the engine that evaluation uses."""

    @property
    def max_model_len(self) -> int: ...

    def sample(
        self, prompts: Sequence[list[int]], seeds: Sequence[int], n: int, sampling: Sampling
    ) -> list[list[Completion]]: ...


@dataclass(frozen=True, slots=True)
class Score:
    """Successes of a number of trials, with the reasons or kinds behind them."""

    successes: int
    trials: int
    detail: dict[str, int]


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the world meets it: histories in, one sampled text each out.

    The seed of a sample depends on the run seed and the history alone, so results do not depend on batching, and two
    models face the same draws.
    """

    engine: Speaker
    prompts: PromptEncoder
    parse: ParseAction
    sampling: Sampling
    seed: int
    begins: Callable[[str], None] = lambda what: None  # told whenever the model is asked

    def say(self, dialogs: Sequence[tuple[Sequence[Message], Sequence[Tool]]]) -> list[str | None]:
        """One completion a dialog; None where the history is too long, or the token limit cut the answer off."""
        self.begins("evaluate")
        room = self.prompts.room(self.engine.max_model_len, self.sampling.max_tokens)
        prompts = [self._prompt(messages, tools, room) for messages, tools in dialogs]
        fits = {i: prompt for i, prompt in enumerate(prompts) if prompt is not None}
        seeds = [sample_seed(self.seed, json.dumps(dialogs[i][0], sort_keys=True)) for i in fits]
        texts: list[str | None] = [None] * len(dialogs)
        for i, samples in zip(fits, self.engine.sample(list(fits.values()), seeds, 1, self.sampling), strict=True):
            texts[i] = samples[0].text if samples[0].finish_reason == "stop" else None
        return texts

    def _prompt(self, messages: Sequence[Message], tools: Sequence[Tool], room: int) -> list[int] | None:
        try:
            return list(self.prompts.encode(messages, tools, room).tokens)
        except PromptError:
            return None

    def act(self, dialogs: Sequence[tuple[Sequence[Message], Sequence[Tool]]]) -> list[Action]:
        """One action a dialog."""
        return [
            Action(None, malformed="over_long") if text is None else self.parse(text, tools)
            for text, (_, tools) in zip(self.say(dialogs), dialogs, strict=True)
        ]


def episodes(model: Model, tasks: Sequence[Task], max_turns: int) -> Score:
    """Success of whole episodes: the goal state is reached, nothing else changed (in-domain)."""
    results = run_episodes(tasks, model.act, max_turns)
    return Score(
        sum(result.success for result in results),
        len(results),
        dict(Counter(result.reason for result in results)),
    )


def questions(model: Model, asked: Sequence[Question]) -> Score:
    """Exact-match accuracy on the non-agentic skills (out of domain); `detail` counts right answers by skill."""
    texts = model.say([(question.messages, ()) for question in asked])
    right = Counter(
        question.skill
        for question, text in zip(asked, texts, strict=True)
        if text is not None and score_answer(question, text)
    )
    return Score(right.total(), len(asked), dict(right))
