"""Requests through a vLLM engine: all of a call, the queue fed as it drains, to the end or until there is enough."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pivot.rollout.begun import Begun
from pivot.rollout.requests import room
from pivot.rollout.types import Sampling

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams

Progress = Callable[[int, int], None]
"""Called with (prompts done, tokens generated so far)."""

Finish = Callable[[int, list["RequestOutput"]], bool]
"""Called with a prompt's index and its outputs when it has all of them; whether to give up the other prompts."""

GiveUp = Callable[[], bool]
"""Called between two steps of the engine: whether to leave what is not finished."""


@dataclass(frozen=True, slots=True)
class Request:
    """One sequence for the engine.

    Attributes:
        owner: Number of the prompt that it is for.
        sample: Which of the prompt's samples.
        tokens: What the engine is to go on from: the prompt, and what was begun behind it.
        parameters: How.
    """

    owner: int
    sample: int
    tokens: list[int]
    parameters: "SamplingParams"


def sampling_requests(
    prompts: Sequence[list[int]],
    seeds: Sequence[int],
    sampling: Sampling,
    context: int,
    begun: Sequence[Sequence[Begun]],
) -> list[Request]:
    """For what the samples of every prompt lack, in a context of so many tokens; the requests of a prompt in a row."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return [
        Request(
            owner,
            i,
            [*prompt, *one.token_ids],
            SamplingParams(
                seed=seed + i,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=room(prompt, sampling, context) - len(one.token_ids),
                logprobs=0,
                flat_logprobs=True,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            ),
        )
        for owner, (prompt, seed, samples) in enumerate(zip(prompts, seeds, begun, strict=True))
        for i, one in enumerate(samples)
        if one.finish_reason is None
    ]


@dataclass(slots=True)
class Requests:
    """The requests of one call.

    Attributes:
        engine: vLLM's LLMEngine.
        requests: Those of an owner in the order of its samples.
        ahead: Requests that are in the engine at most, running or waiting.
        finished: By number of the request, its output.
        partial: By number of the request, the tokens and logprobs of one that was still running when the call ended.
    """

    engine: Any
    requests: Sequence[Request]
    ahead: int
    finished: dict[int, "RequestOutput"] = field(default_factory=dict)
    partial: dict[int, tuple[list[int], list[float]]] = field(default_factory=dict)
    _sent: int = 0

    def run(self, progress: Progress | None, finish: Finish | None, give_up: GiveUp | None = None) -> None:
        """Until all are finished, or `finish` says that it is enough, or `give_up` that nobody wants them."""
        own: dict[int, list[int]] = {}
        for number, request in enumerate(self.requests):
            own.setdefault(request.owner, []).append(number)
        unfinished = {owner: len(numbers) for owner, numbers in own.items()}
        tokens, enough = 0, False
        try:
            while len(self.finished) < len(self.requests) and not enough:
                if give_up is not None and give_up():
                    break
                self._feed()
                steps: list[Any] = self.engine.step()  # all RequestOutput: nothing here is pooled
                done = [output for output in steps if output.finished]
                for output in done:
                    number = int(output.request_id)
                    owner = self.requests[number].owner
                    self.finished[number] = output
                    unfinished[owner] -= 1
                    tokens += sum(len(choice.token_ids) for choice in output.outputs)
                    if finish is not None and not unfinished[owner]:
                        # whoever ends in the same step is asked for too
                        enough |= finish(owner, [self.finished[i] for i in own[owner]])
                if done and progress is not None:
                    progress(sum(not left for left in unfinished.values()), tokens)
        finally:
            self._abort()

    def _feed(self) -> None:
        """The batch never runs dry, and a long queue is not in the engine's way."""
        from vllm.inputs.engine import tokens_input

        while self._sent < len(self.requests) and self._sent - len(self.finished) < self.ahead:
            request = self.requests[self._sent]
            self.engine.add_request(str(self._sent), tokens_input(request.tokens), request.parameters)
            self._sent += 1

    def _abort(self) -> None:
        """What still runs must not answer the next call."""
        running = {str(number) for number in range(self._sent) if number not in self.finished}
        if not running:
            return
        for state in self.engine.output_processor.request_states.values():
            if state.external_req_id in running:
                tokens = list(state.detokenizer.output_token_ids)
                logprobs = list(state.logprobs_processor.logprobs.logprobs)
                self.partial[int(state.external_req_id)] = tokens, logprobs
        self.engine.abort_request(sorted(running))
