"""Routed experts on vLLM's CPU backend, which refuses `enable_return_routed_experts`. Not used on CUDA.

`config/vllm.py` (`_verify_aux_output_compatibility`) wants the second model runner, which needs Triton. vLLM's routers
report their choices on any device, though (`fused_moe/routed_experts_capturer.py`). What is left is to say which row of
a step is which token: the runner's batch has the requests in the order of the rows, and each one's KV blocks. Routes
are kept beside the KV cache, one row a slot, so that a prefix that is found in the cache comes with the routes it was
computed with, as with vLLM's own.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pivot.errors import UserError
from pivot.rollout.routes import MISSING, Rows


class RouteRecorder:
    """Listens to the routers of one engine and knows the routes of every request since `clear`."""

    def __init__(self, worker: Any) -> None:
        """Attaches to vLLM's worker; give this class to `LLM.collective_rpc`.

        Raises:
            UserError: the model has no experts.
        """
        from vllm.model_executor.layers.fused_moe.routed_experts_capturer import bind_routed_experts_capturer

        runner = worker.model_runner
        config = runner.model_config
        if not config.is_moe:
            raise UserError("grpo.router_replay is true, but the model has no experts: set false")
        self._shape = (config.get_total_num_hidden_layers(), config.get_num_experts_per_tok())
        self._step: dict[int, torch.Tensor] = {}  # layer -> [tokens of the step, topk]
        self._slots: Rows = np.empty((0, *self._shape), np.int16)  # by slot of the KV cache
        self._requests: dict[str, list[Rows]] = {}
        bind_routed_experts_capturer(runner.get_model(), self)
        self._runner, self._execute = runner, runner.execute_model
        runner.execute_model = self._execute_and_record

    def clear(self) -> None:
        """Forgets the requests, not what lies in the cache."""
        self._requests.clear()

    def take(self, output: Any) -> Rows:
        """[input tokens, layers, topk] int16 of a finished request; once for each."""
        return np.concatenate(self._requests.pop(output.request_id))

    def capture(self, layer_id: int, topk_ids: torch.Tensor) -> None:
        """What a router calls with its choice for the tokens of a step: [tokens, topk]."""
        self._step[layer_id] = topk_ids.to(torch.int16)

    def _execute_and_record(self, scheduled: Any, *arguments: Any, **options: Any) -> Any:
        self._step.clear()
        output = self._execute(scheduled, *arguments, **options)
        if scheduled.total_num_scheduled_tokens:
            self._record(scheduled.num_scheduled_tokens, self._rows(scheduled.total_num_scheduled_tokens))
        return output

    def _rows(self, tokens: int) -> Rows:
        """[tokens of the step, layers, topk]."""
        if {len(ids) for ids in self._step.values()} != {tokens} or len(self._step) != self._shape[0]:
            heard = {layer: len(ids) for layer, ids in sorted(self._step.items())}
            raise RuntimeError(
                f"vLLM's routers reported {heard} (layer: rows) in a step of {tokens} tokens of a model of "
                f"{self._shape[0]} layers"
            )
        rows: Rows = torch.stack([self._step[layer] for layer in sorted(self._step)], 1).numpy()
        return rows

    def _record(self, counts: dict[str, int], rows: Rows) -> None:
        """Files the rows of a step: all under their slots first, for requests of one step share prefixes too."""
        batch = self._runner.input_batch
        places, offset = [], 0
        for index, request in enumerate(batch.req_ids):
            count = counts.get(request, 0)
            start = int(batch.num_computed_tokens_cpu[index])
            slots = self._slots_of(index, start + count)
            self._slots[slots[start:]] = rows[offset : offset + count]
            # without the random suffix that vLLM puts behind the caller's id (`v1/engine/input_processor.py`)
            places.append((request.rpartition("-")[0], start, slots))
            offset += count
        if offset != len(rows):
            raise RuntimeError(f"vLLM's batch has {offset} tokens, but its step had {len(rows)}")
        for request, start, slots in places:
            known = self._requests.get(request)
            if known is None or sum(map(len, known)) != start:  # it is new, or was preempted: the cache has the rest
                self._requests[request] = [self._slots[slots]]
            else:
                known.append(self._slots[slots[start:]])

    def _slots_of(self, index: int, tokens: int) -> NDArray[np.int64]:
        """[tokens] slots of the KV cache in which the request in row `index` of the batch has its tokens."""
        table = self._runner.input_batch.block_table[0]
        positions = np.arange(tokens)
        blocks = table.get_numpy_array()[index, positions // table.block_size].astype(np.int64)
        slots: NDArray[np.int64] = blocks * table.block_size + positions % table.block_size
        if tokens and (top := int(slots.max())) >= len(self._slots):
            grown = np.full((max(top + 1, 2 * len(self._slots)), *self._shape), MISSING, np.int16)
            grown[: len(self._slots)] = self._slots
            self._slots = grown
        return slots
