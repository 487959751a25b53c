"""The pre-training corpus (careless episodes, skills, plain copying) and the expert's files."""

import itertools
import json
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from pivot.trajectory.types import Message, Trajectory
from pivot.world.careless import careless_actions
from pivot.world.expert import play
from pivot.world.orders import CITIES, ITEMS, NAMES, ORDER_LETTERS, TOOLS
from pivot.world.skills import SKILLS, make_question
from pivot.world.tasks import make_task, task_seeds
from pivot.world.tokenizer import END, PAD, SPECIAL_TOKENS, START, render, train_tokenizer

WARM_UP = 6000
"""Documents before the mixture changes."""

MIXTURES = (
    {"episode": 0.25, "skills": 0.15, "copy": 0.1, "repeat": 0.5},
    {"episode": 0.6, "skills": 0.25, "copy": 0.1, "repeat": 0.05},
)
"""Share of the documents of each sort, during the warm-up and after it.

A tiny model learns first to copy from its context, and fastest where nothing but copying helps: random tokens, said
twice. Without them it knew every form of the orders desk after 3 million tokens and could not repeat an order's id.
"""

CONTEXT_WEIGHT = 0.1
"""Weight in the loss of tokens that the assistant does not write (it writes with weight 1)."""

SKILLS_PER_DOCUMENT = 12
_TASKS = 10**5
_TOKENIZER_DOCUMENTS = {"episode": 1800, "skills": 900, "copy": 300}

REPEATED_LENGTH = 240
REPEATED_VOCABULARY = 200


@dataclass(frozen=True, slots=True)
class Document:
    """One pre-training text.

    Attributes:
        tokens: Token ids, ending with the padding token (`<|endoftext|>`) as separator.
        loss_weights: Weight of each token in the loss; same length.
    """

    tokens: tuple[int, ...]
    loss_weights: tuple[float, ...]


def documents(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[Document]:
    """Endless stream of documents, the same for the same seed."""
    rng = random.Random(f"mixture:{seed}")
    talk = {sort: conversations(sort, seed) for sort in MIXTURES[0] if sort != "repeat"}
    for index in itertools.count():
        mixture = MIXTURES[index >= WARM_UP]
        sort = rng.choices(list(mixture), weights=list(mixture.values()))[0]
        if sort == "repeat":
            yield repeated(tokenizer, rng)
        else:
            conversation = next(talk[sort])
            yield encode_document(tokenizer, "".join(render(messages, tools) for messages, tools in conversation))


def repeated(tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Document:
    """Segments of random tokens, each said twice; only the second time counts in the loss."""
    first, vocabulary = len(SPECIAL_TOKENS), REPEATED_VOCABULARY
    [start] = tokenizer.encode(START, add_special_tokens=False)
    [end] = tokenizer.encode(END, add_special_tokens=False)
    tokens: list[int] = []
    weights: list[float] = []
    while len(tokens) < REPEATED_LENGTH:
        segment = [rng.randrange(first, first + vocabulary) for _ in range(rng.randint(4, 12))]
        tokens += [start, *segment, end, *segment]
        weights += [0.0] * (len(segment) + 2) + [1.0] * len(segment)
    return Document(tuple(tokens), tuple(weights))


def conversations(sort: str, seed: int) -> Iterator[list[tuple[list[Message], tuple[dict, ...]]]]:
    """Endless stream of one sort of document, as lists of (messages, tools): an episode, or short exchanges."""
    rng = random.Random(f"corpus:{sort}:{seed}")
    first_task = task_seeds(_TASKS, seed, "pretrain")
    for index in itertools.count():
        if sort == "episode":
            # A stream longer than the split's share meets its tasks again, played differently.
            task = make_task(first_task[index % _TASKS])
            actions, _ = careless_actions(task, rng)
            yield [(play(task, actions).messages, TOOLS)]
        elif sort == "skills":
            questions = [make_question(rng, rng.choice(SKILLS), held_out=False) for _ in range(SKILLS_PER_DOCUMENT)]
            yield [([*question.messages, _answer(question.answer)], ()) for question in questions]
        else:
            texts = [_random_text(rng) for _ in range(SKILLS_PER_DOCUMENT // 2)]
            yield [([{"role": "user", "content": f"Repeat: {text}"}, _answer(text)], ()) for text in texts]


def _answer(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _random_text(rng: random.Random) -> str:
    """Names, numbers and the like in random order: can only be repeated by copying."""
    pools = (NAMES, CITIES, ITEMS)
    pieces = (
        f"{rng.choice(ORDER_LETTERS)}{rng.randrange(10)}" if rng.random() < 0.5 else rng.choice(rng.choice(pools))
        for _ in range(rng.randint(2, 5))
    )
    return ", ".join(pieces)


def encode_document(tokenizer: PreTrainedTokenizerFast, text: str) -> Document:
    """Encode a rendered conversation and weigh what the assistant writes."""
    tokens = tokenizer.encode(text, add_special_tokens=False)
    header = tokenizer.encode(f"{START}assistant\n", add_special_tokens=False)
    [end] = tokenizer.encode(END, add_special_tokens=False)
    [separator] = tokenizer.encode(PAD, add_special_tokens=False)
    weights, inside = [], False
    for position, token in enumerate(tokens):
        inside = inside or tokens[max(0, position - len(header)) : position] == header
        weights.append(1.0 if inside else CONTEXT_WEIGHT)
        inside = inside and token != end
    return Document((*tokens, separator), (*weights, 0.0))


def make_tokenizer(seed: int = 0) -> PreTrainedTokenizerFast:
    """Train the world's tokenizer on text of its own corpus."""
    streams = [islice(conversations(sort, seed), count) for sort, count in _TOKENIZER_DOCUMENTS.items()]
    return train_tokenizer(_plain_texts(itertools.chain.from_iterable(streams)))


def _plain_texts(corpus: Iterable[list[tuple[list[Message], tuple[dict, ...]]]]) -> Iterator[str]:
    """The text between special tokens: those are no text to learn merges from."""
    special = re.compile("|".join(map(re.escape, SPECIAL_TOKENS)))
    for conversation in corpus:
        for messages, tools in conversation:
            yield from (piece for piece in special.split(render(messages, tools)) if piece)


def write_trajectories(trajectories: Iterable[Trajectory], path: Path) -> int:
    """Write trajectories as OpenAI-chat JSONL, one a line; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for trajectory in trajectories:
            row = {
                "id": trajectory.trajectory_id,
                "domain": trajectory.domain,
                "success": trajectory.success,
                "messages": list(trajectory.messages),
                "tools": list(trajectory.tools),
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count
