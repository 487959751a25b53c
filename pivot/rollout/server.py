"""A vLLM server behind the engine's `sample`: token ids in, token ids and logprobs out, over HTTP.

What comes back is untrusted: a reply is read up to a bound and checked against what was asked before it is used.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from pivot.errors import UserError
from pivot.rollout.placement import Placement
from pivot.rollout.requests import check_request, room
from pivot.rollout.types import Completion, Sampling

Fetch = Callable[[str, Mapping[str, Any] | None, int], Any]
"""(path, JSON to post or None, most bytes of a reply) -> JSON."""

RETRIES = 3
BYTES_A_TOKEN = 512  # of a reply: id, logprob and text of a token, as escaped JSON
MOST_OVERHEAD = 1 << 16  # bytes of a reply that do not grow with its tokens
ABOVE_ZERO = 1e-4  # a logprob of a certain token may be rounded to a little above 0


class ServerError(UserError):
    """The server cannot be reached, refuses, or answers what was not asked."""


@dataclass(frozen=True, slots=True)
class Question:
    """One completion, as the server is asked for it."""

    prompt: tuple[int, ...]
    seed: int
    sampling: Sampling
    limit: int

    def body(self, model: str) -> dict[str, Any]:
        """Of a request to /v1/completions. It sets whatever a server's own defaults might change."""
        return {
            "model": model,
            "prompt": list(self.prompt),
            "seed": self.seed,
            "max_tokens": self.limit,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "logprobs": 0,
            "return_token_ids": True,
        }


class Server:
    """A vLLM server as a sampler.

    Every rank is a client of its own, so its placement is a replica a rank. Whether logprobs are those of the sampling
    temperature is the server's setting (`--logprobs-mode processed_logprobs`, as `pivot.rollout.serve` starts it).

    Attributes:
        tokenizer: Of the checkpoint that the server serves.
        max_model_len: Most tokens that a prompt and its completion hold together.
        placement: Of this rank.
    """

    def __init__(
        self,
        url: str,
        model_path: Path | str,
        *,
        max_model_len: int,
        placement: Placement | None = None,
        concurrency: int = 64,
        timeout_s: float = 600.0,
    ) -> None:
        """Asks the server what it serves.

        Args:
            url: Its address without a path, as http://127.0.0.1:8000.
            model_path: The checkpoint it serves, for the tokenizer.
            max_model_len: Context to use; the server's must be at least this.
            placement: Of this rank.
            concurrency: Most requests in flight.
            timeout_s: Seconds before a request is given up.

        Raises:
            ServerError: no such server, more than one model, or a context that is too short.
        """
        from transformers import AutoConfig, AutoTokenizer

        self._url = url.rstrip("/")
        self._fetch = fetcher(self._url, timeout_s)
        self._concurrency = concurrency
        self.max_model_len = max_model_len
        self.placement = placement or Placement()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(model_path)
        # a model may draw ids that its tokenizer has no text for: vocabularies are padded
        self._vocabulary: int = AutoConfig.from_pretrained(model_path).get_text_config().vocab_size
        self._model = served(self._fetch("/v1/models", None, MOST_OVERHEAD), self._url, max_model_len)

    def sample(
        self, prompts: Sequence[list[int]], seeds: Sequence[int], n: int, sampling: Sampling
    ) -> list[list[Completion]]:
        """As `Engine.sample`: completion i of a prompt with seed s is what seed s + i alone draws.

        Raises:
            ValueError: as the engine's.
            ServerError: a request failed, also when repeated, or a reply is not what was asked for.
        """
        check_request(prompts, seeds, n, sampling, self.max_model_len)
        questions = [
            Question(tuple(prompt), seed + i, sampling, room(prompt, sampling, self.max_model_len))
            for prompt, seed in zip(prompts, seeds, strict=True)
            for i in range(n)
        ]
        with ThreadPoolExecutor(self._concurrency) as pool:
            completions = list(pool.map(self._complete, questions))
        return [completions[i * n : (i + 1) * n] for i in range(len(prompts))]

    def _complete(self, question: Question) -> Completion:
        size = MOST_OVERHEAD + BYTES_A_TOKEN * (len(question.prompt) + question.limit)
        reply = self._fetch("/v1/completions", question.body(self._model), size)
        try:
            ids, logprobs, reason = read_completion(reply, question, self._vocabulary)
        except ValueError as error:
            raise ServerError(f"{self._url}: a completion that was not asked for: {error}") from None
        spoken = ids[:-1] if reason == "stop" else ids
        text = self.tokenizer.decode(spoken, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return Completion(ids, logprobs, text, reason, self._model)


def served(reply: Any, url: str, max_model_len: int) -> str:
    """The name of the only model in a reply of /v1/models.

    Raises:
        ServerError: there is not exactly one, or its context is shorter than `max_model_len`.
    """
    models = reply.get("data") if isinstance(reply, dict) else None
    if not isinstance(models, list) or len(models) != 1 or not isinstance(models[0], dict):
        raise ServerError(f"{url}: /v1/models must list one model; serve one checkpoint without adapters")
    name, length = models[0].get("id"), models[0].get("max_model_len")
    if not isinstance(name, str) or not isinstance(length, int):
        raise ServerError(f"{url}: /v1/models has no id and max_model_len; is this a vLLM server?")
    if length < max_model_len:
        raise ServerError(
            f"{url}: serves contexts of {length} tokens, rollout.max_model_len is {max_model_len}: "
            f"start it with --max-model-len {max_model_len} or lower rollout.max_model_len"
        )
    return name


def read_completion(reply: Any, question: Question, vocabulary: int) -> tuple[tuple[int, ...], tuple[float, ...], str]:
    """Token ids, logprobs and finish reason of a reply, checked against the question.

    Raises:
        ValueError: saying what is wrong with it.
    """
    try:
        (choice,) = reply["choices"]
        prompt, ids, reason = choice["prompt_token_ids"], choice["token_ids"], choice["finish_reason"]
        logprobs = choice["logprobs"]["token_logprobs"]
    except (KeyError, TypeError, ValueError):
        raise ValueError("not one choice with token ids, logprobs and a finish reason") from None
    if prompt != list(question.prompt):
        raise ValueError("its prompt is another one")
    if not isinstance(ids, list) or not all(type(i) is int and 0 <= i < vocabulary for i in ids):
        raise ValueError(f"its tokens are not ids below {vocabulary}")
    if not 1 <= len(ids) <= question.limit:
        raise ValueError(f"it has {len(ids)} tokens, asked for were 1 to {question.limit}")
    if not isinstance(logprobs, list) or len(logprobs) != len(ids):
        raise ValueError("it has another number of logprobs than of tokens")
    if not all(type(x) in (int, float) and math.isfinite(x) and x <= ABOVE_ZERO for x in logprobs):
        raise ValueError("its logprobs are not finite numbers up to 0")
    if reason not in ("stop", "length") or (reason == "length" and len(ids) < question.limit):
        raise ValueError(f"it ended with {reason!r} after {len(ids)} of {question.limit} tokens")
    return tuple(ids), tuple(float(x) for x in logprobs), reason


def fetcher(url: str, timeout_s: float) -> Fetch:
    """JSON over HTTP from a server at `url`, with a bounded reply and `RETRIES` more attempts.

    A server on this machine is asked directly, whatever proxy the environment names.
    """
    local = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    opener = build_opener(*([ProxyHandler({})] if local else []))

    def once(path: str, body: Mapping[str, Any] | None, most: int) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(url + path, data, {"Content-Type": "application/json"})
        with opener.open(request, timeout=timeout_s) as response:
            read = response.read(most + 1)
        if len(read) > most:
            raise ServerError(f"{url}{path}: the reply is longer than {most} bytes")
        return json.loads(read)

    def fetch(path: str, body: Mapping[str, Any] | None, most: int) -> Any:
        attempt = partial(once, path, body, most)
        for left in reversed(range(RETRIES + 1)):
            try:
                return attempt()
            except HTTPError as error:
                said = " ".join(error.read(500).decode(errors="replace").split())
                if error.code < 500 or not left:
                    raise ServerError(f"{url}{path}: status {error.code}: {said}") from None
            except (URLError, HTTPException, OSError) as error:
                if not left:
                    raise ServerError(f"{url}{path}: no answer ({error}); is the server running there?") from None
            except ValueError:
                raise ServerError(f"{url}{path}: the reply is not JSON") from None
        raise AssertionError("unreachable")

    return fetch
