"""A vLLM engine inside the trainer's processes: sample, score, take new weights.

With the default placement every rank owns a whole engine, and no engine step involves another rank. A replica of
several ranks is tensor parallel: its ranks call every method together, with the same arguments.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
import torch.distributed as dist

from pivot.rollout import readback
from pivot.rollout.begun import NOTHING, Begun
from pivot.rollout.environment import prepare_environment
from pivot.rollout.isolation import groups_kept, process_kept, random_state_kept
from pivot.rollout.placement import Placement
from pivot.rollout.replica import Replica
from pivot.rollout.requests import check_begun, check_lengths, check_request
from pivot.rollout.routes import checked, of_group, route_arguments, route_source
from pivot.rollout.running import Finish, GiveUp, Progress, Request, Requests, sampling_requests
from pivot.rollout.types import Completion, Sampling

if TYPE_CHECKING:
    from vllm import RequestOutput

Enough = Callable[[int, list[Completion]], bool]
"""Called with a prompt's index and its completions when it has all of them; whether to give up the other prompts."""

_CLOSED = "it is closed"


def _given_up(give_up: GiveUp, ranks: int) -> bool:
    """The caller's answer; asked also where it does not count, for it is how the caller knows that the engine steps."""
    return give_up() and ranks == 1


class Engine:
    """A colocated vLLM engine.

    Attributes:
        tokenizer: The checkpoint's own tokenizer.
        placement: Which replica this rank's engine is, or is a part of.
        replica: The ranks of that replica, as a group.
        max_model_len: Most tokens that a prompt and its completion hold together.
        quantization: `quantization_config` of the weights that it loads; None: they are of `dtype`.
        weight_version: What `update_weights` was last given; "initial" before, "none" for an engine without
            weights.
        prefill_tokens: Prompt tokens that `sample` has computed so far, over all completions: those that the prefix
            cache did not hold. (What a preempted request computes a second time is not in it.)
        aborted_tokens: Tokens that `sample` has generated so far for prompts that it gave up.
        left: By index of the prompts that the last `sample` gave up, what there is of their samples.
    """

    _open: ClassVar[int] = 0  # engines of this process: they share vLLM's process groups

    def __init__(
        self,
        model_path: Path | str,
        *,
        placement: Placement | None = None,
        dtype: str = "float32",
        max_model_len: int,
        max_num_seqs: int = 64,
        kv_cache_bytes: int = 64 << 20,
        load_weights: bool = True,
        share_tails: bool = False,
        can_sleep: bool = False,
        cuda_graphs: bool = False,
        routes: bool = False,
        quantization: Mapping[str, Any] | None = None,
    ) -> None:
        """Starts an engine; collective over the default process group when there is one.

        Args:
            model_path: Hugging Face checkpoint directory.
            placement: Of this rank's engine; None: a replica a rank.
            dtype: Type of weights, activations and KV cache.
            max_model_len: Context length in tokens.
            max_num_seqs: Most sequences decoded together.
            kv_cache_bytes: Size of this rank's KV cache; what does not fit waits.
            load_weights: False: the first `update_weights` fills them; until then `sample` and `score` refuse.
            share_tails: Prompts share all tokens they begin with, not only whole KV blocks (`pivot.rollout.scheduler`).
            can_sleep: `sleep` and `wake` will be called; vLLM refuses it on CPU.
            cuda_graphs: Decode steps are recorded once and replayed; not on CPU.
            routes: Completions carry the experts that their tokens went to; not with `share_tails`.
            quantization: `quantization_config` in place of the checkpoint's: it then multiplies FP8; not on CPU.

        Raises:
            UserError: no checkpoint there, routes of a model without experts, graphs on a CPU, or what vLLM refuses.
            RuntimeError: no process group under torchrun, or an unproven vLLM release on CPU.
        """
        from pivot.rollout import start

        self.placement = placement or Placement()
        prepare_environment()
        self._created_group = not dist.is_initialized()
        self.max_model_len, self._max_num_seqs = max_model_len, max_num_seqs
        with process_kept():
            self._llm = start.llm(
                Path(model_path), self.placement, dtype=dtype, max_model_len=max_model_len, max_num_seqs=max_num_seqs,
                load_format="auto" if load_weights else "dummy", enable_sleep_mode=can_sleep, share_tails=share_tails,
                kv_cache_bytes=kv_cache_bytes, quantization=quantization, **start.decoding(cuda_graphs),
                **route_arguments(routes, share_tails, self.placement.tensor),
            )  # fmt: skip
            self._routes = route_source(self._llm) if routes else None
        self.replica = Replica(self.placement, start.group() if self.placement.tensor > 1 else None)
        self.tokenizer: Any = self._llm.get_tokenizer()
        self.quantization = start.quantization(self._llm)
        self.weight_version = "initial" if load_weights else "none"
        self._refusal = None if load_weights else "it was started without weights: call update_weights first"
        self._updatable = True
        self.prefill_tokens = self.aborted_tokens = 0
        self.left: dict[int, list[Begun]] = {}
        self._llm.llm_engine.set_weight_version(self.weight_version)
        Engine._open += 1

    def sample(
        self,
        prompts: Sequence[list[int]],
        seeds: Sequence[int],
        n: int,
        sampling: Sampling,
        progress: Progress | None = None,
        enough: Enough | None = None,
        give_up: GiveUp | None = None,
        begun: Mapping[int, Sequence[Begun]] | None = None,
    ) -> list[list[Completion]]:
        """Draws `n` completions of every prompt.

        Completion i of a prompt with seed s is what seed s + i alone draws, whatever else is in the batch
        (exact in float32). Prompts are started in the order given: neighbours with a common prefix share its
        KV cache.

        Args:
            prompts: Token ids, one list a prompt.
            seeds: One a prompt.
            n: Completions a prompt.
            sampling: Temperature, nucleus, length.
            progress: Called whenever prompts finish.
            enough: Called for every prompt that finishes; None: all prompts are wanted.
            give_up: Called between the engine's steps, whether to leave all that is not finished. Its answer is
                ignored by an engine of several ranks, which have to go on alike.
            begun: By index of a prompt, what there is of its `n` samples: finished ones are taken as they are, the
                others go on with these weights. Not with routes.

        Returns:
            For every prompt, in order, its `n` completions; none for one that was given up.

        Raises:
            ValueError: a prompt that leaves no room for a token (its index, length and the limit), an empty
                one, other counts of prompts and seeds, n > 1 at temperature 0, or samples that cannot go on.
            RuntimeError: the ranks of the replica asked for different things, or drew different samples.
        """
        begun = begun or {}
        check_request(prompts, seeds, n, sampling, self.max_model_len)
        check_begun(begun, prompts, n, sampling, self.max_model_len, self._routes is not None)
        self.replica.check_same("prompts, seeds or sampling", (prompts, seeds, n, sampling, begun))
        groups: list[list[Completion]] = [[] for _ in prompts]
        started = [begun.get(index, [NOTHING] * n) for index in range(len(prompts))]

        def finish(index: int, outputs: list["RequestOutput"]) -> bool:
            groups[index] = self._group(len(prompts[index]), started[index], outputs)
            return enough is not None and enough(index, groups[index])

        asked = sampling_requests(prompts, seeds, sampling, self.max_model_len, started)
        ran = self._generate(asked, n, progress, finish, give_up)
        self._count(ran, groups)
        self.left = self._left(ran, groups, started)
        self.replica.check_same("samples", [[one.token_ids for one in group] for group in groups])
        return groups

    def score(self, sequences: Sequence[list[int]], progress: Progress | None = None) -> list[list[float]]:
        """Logprobs of given tokens under the engine's weights, at temperature 1.

        Args:
            sequences: Token ids, at least two a sequence.
            progress: Called whenever sequences finish.

        Returns:
            For every sequence, in order, the logprob (nats) of each token after the first.

        Raises:
            ValueError: a sequence longer than the context minus one, or empty.
        """
        return [logprobs for logprobs, _ in self.score_and_rank(sequences, progress)]

    def score_and_rank(
        self, sequences: Sequence[list[int]], progress: Progress | None = None
    ) -> list[tuple[list[float], list[int]]]:
        """As `score`, with the rank of each token among all that could stand there: 1 is the likeliest."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        # The engine insists on generating a token, which needs room.
        check_lengths(sequences, "sequence", self.max_model_len)
        self.replica.check_same("sequences", sequences)
        # Prompt logprobs make vLLM compute every position anew (it does not read the prefix cache then).
        parameters = SamplingParams(
            max_tokens=1,
            temperature=0,
            prompt_logprobs=0,
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        asked = [Request(number, 0, tokens, parameters) for number, tokens in enumerate(sequences)]
        scores = []
        for _, output in sorted(self._generate(asked, 1, progress).finished.items()):
            logprobs: Any = output.prompt_logprobs  # a FlatLogprobs, by flat_logprobs=True
            if len(logprobs.logprobs) != len(output.prompt_token_ids or ()) - 1:
                raise RuntimeError("vLLM returned logprobs for another number of tokens than the sequence has")
            scores.append((list(logprobs.logprobs), list(logprobs.ranks)))
        return scores

    def read_weights(self, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, torch.Tensor]]:
        """Weights that the engine holds as they were loaded, by Hugging Face name (`pivot.rollout.readback`).

        Args:
            shapes: Name -> shape of the tensors to look for.
        """
        [found] = self._llm.apply_model(lambda model: list(readback.read_weights(model, shapes)))
        yield from found

    def update_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: str) -> None:
        """Replaces all weights through vLLM's weight-transfer path and forgets cached prefixes.

        Args:
            weights: Every tensor of the checkpoint, full, by its Hugging Face name; read once, in order.
            version: Stamped on every later completion.

        Raises:
            MissingWeights: parameters that received nothing. After this or any other error, also one raised
                by `weights`, the engine is half-updated: it refuses further use and must be built anew.
        """
        if not self._updatable:
            raise RuntimeError(f"the engine cannot be used: {self._refusal}")
        self._updatable, self._refusal = False, f"update {version!r} did not complete: build a new engine"
        with random_state_kept():
            self._llm.start_weight_update()
            self._llm.update_weights({"update_info": {"weights": weights}})
            self._llm.finish_weight_update(version)
            # vLLM keeps cached prefixes across an update: they would be the old weights' keys and values.
            self.forget_prefixes()
        self.weight_version = version
        self._updatable, self._refusal = True, None

    def forget_prefixes(self) -> None:
        """Empties the prefix cache; what `sample` computes afterwards depends on nothing before."""
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not reset its prefix cache: requests are still running")

    def sleep(self, level: int) -> None:
        """Frees the engine's device memory: the KV cache, and the weights into host memory (1) or for good (2).

        A level 2 sleep has corrupted what some models sample after waking, without an error: score something then.
        """
        self._llm.sleep(level=level)

    def wake(self, tag: str) -> None:
        """Takes back the memory of the "weights" or of the "kv_cache".

        After level 2 the weights are garbage until `update_weights`, which is possible before the cache is back; after
        both the engine can be used.
        """
        self._llm.wake_up(tags=[tag])

    def close(self) -> None:
        """Frees the engine; the trainer's default process group survives. Calling it again does nothing."""
        if self._refusal == _CLOSED:
            return
        self._updatable, self._refusal = False, _CLOSED
        Engine._open -= 1
        if self._created_group and not Engine._open:
            self._llm.llm_engine.engine_core.shutdown()
        else:
            with groups_kept(engine_groups=Engine._open > 0):
                self._llm.llm_engine.engine_core.shutdown()
        del self._llm

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _generate(
        self,
        asked: Sequence[Request],
        n: int,
        progress: Progress | None,
        finish: Finish | None = None,
        give_up: GiveUp | None = None,
    ) -> Requests:
        """Runs requests, at most `n` a prompt, until all are finished or given up."""
        if self._refusal is not None:
            raise RuntimeError(f"the engine cannot be used: {self._refusal}")
        if self._routes is not None:
            self._routes.clear()
        requests = Requests(self._llm.llm_engine, asked, 2 * self._max_num_seqs + n)
        with random_state_kept():
            requests.run(progress, finish, give_up and partial(_given_up, give_up, self.placement.tensor))
        return requests

    def _count(self, ran: Requests, groups: Sequence[Sequence[Completion]]) -> None:
        """Adds to the tokens that were computed, and to those of prompts without a group."""
        for number, out in ran.finished.items():
            # One request a completion, so that each says what it found in the prefix cache.
            self.prefill_tokens += len(out.prompt_token_ids or ()) - (out.num_cached_tokens or 0)
            if not groups[ran.requests[number].owner]:
                self.aborted_tokens += len(out.outputs[0].token_ids)
        self.aborted_tokens += sum(len(tokens) for tokens, _ in ran.partial.values())

    def _left(
        self, ran: Requests, groups: Sequence[Sequence[Completion]], started: Sequence[Sequence[Begun]]
    ) -> dict[int, list[Begun]]:
        """By index of the prompts without a group, what there is of their samples."""
        left = {index: list(started[index]) for index, group in enumerate(groups) if not group}
        for number, request in enumerate(ran.requests):
            if (samples := left.get(request.owner)) is not None:
                so_far = samples[request.sample]
                if number in ran.finished:
                    so_far = self._gone_on(so_far, ran.finished[number].outputs[0])
                elif number in ran.partial:
                    so_far = so_far.then(*ran.partial[number], self.weight_version, None)
                samples[request.sample] = so_far
        return left

    def _group(self, prompt: int, begun: Sequence[Begun], outputs: list["RequestOutput"]) -> list[Completion]:
        """The completions of one prompt of so many tokens: what was begun, with the outputs that it lacked."""
        rest = iter(outputs)
        completions = [
            self._completion(one if one.finish_reason else self._gone_on(one, next(rest).outputs[0])) for one in begun
        ]
        if self._routes is None:
            return completions
        rows = [
            checked(self._routes.take(output), prompt + len(completion.token_ids) - 1)
            for output, completion in zip(outputs, completions, strict=True)
        ]
        return [
            replace(completion, routes=routes)
            for completion, routes in zip(completions, of_group(rows, prompt), strict=True)
        ]

    def _gone_on(self, begun: Begun, choice: Any) -> Begun:
        """With the rest of it."""
        return begun.then(choice.token_ids, choice.logprobs.logprobs, self.weight_version, choice.finish_reason)

    def _completion(self, whole: Begun) -> Completion:
        ids, (*older, (version, _)) = whole.token_ids, whole.spans
        spoken = ids[:-1] if whole.finish_reason == "stop" else ids
        return Completion(
            token_ids=ids,
            logprobs=whole.logprobs,
            text=self.tokenizer.decode(spoken, skip_special_tokens=False, clean_up_tokenization_spaces=False),
            finish_reason=str(whole.finish_reason),
            weight_version=version,
            older=tuple(older),
        )
