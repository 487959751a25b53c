"""Prefix hits that end inside a KV block: prompts share every token they begin with, not only whole blocks.

vLLM's prefix cache holds whole blocks, so each of the G samples of a prompt computes the prompt's last, partly filled
block again, and so does the next turn of the trajectory: with blocks of 128 tokens about 64 tokens a sample, more than
most turns add. The scheduler here also remembers which tokens lie in blocks that are not full, or that full blocks
of other prompts begin with. A request that begins like such a block gets a copy of it and computes only the rest;
vLLM has the machinery for that (`SingleTypeKVCacheManager._apply_cow`, used for state-space models), it only never
looks for such hits in attention layers. A request whose prefix another one computes in this very step waits for the
next step instead of computing it too.

Give `scheduler()` to vLLM as `scheduler_cls`. Models with other than one group of full attention layers are served as
vLLM does. Proven on the release that `pivot.rollout.cpu.VERIFIED` names; it uses `Scheduler._ec_transfer_pending`,
`KVCacheManager.get_computed_blocks` and `allocate_slots`, `BlockPool.get_new_blocks`, `free_blocks` and
`reset_prefix_cache`.
"""

from collections.abc import Callable, Iterable
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec
from vllm.v1.request import RequestStatus

from pivot.rollout.tails import ROOT, Tail, Tails


class TailScheduler(Scheduler):
    """vLLM's scheduler, with a cache manager that finds hits inside blocks."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        groups = self.kv_cache_config.kv_cache_groups
        self._waits: set[str] = set()
        if len(groups) != 1 or type(groups[0].kv_cache_spec) is not FullAttentionSpec:
            return
        self._tails = Tails(lambda request: bool(request.status == RequestStatus.RUNNING))
        manager = self.kv_cache_manager
        self._find_whole_blocks: Callable[[Any], tuple[Any, int, int]] = manager.get_computed_blocks
        self._allocate: Callable[..., Any] = manager.allocate_slots
        self._new_blocks: Callable[[int], list[Any]] = manager.block_pool.get_new_blocks
        self._reset: Callable[[], bool] = manager.block_pool.reset_prefix_cache
        manager.get_computed_blocks = self._find
        manager.allocate_slots = self._allocate_and_remember
        manager.block_pool.get_new_blocks = self._take_blocks
        manager.block_pool.reset_prefix_cache = self._forget_all
        self._free: Callable[[list[Any]], None] = manager.block_pool.free_blocks
        manager.block_pool.free_blocks = self._free_and_keep

    def _find(self, request: Any) -> tuple[Any, int, int]:
        """The cached blocks that a request begins with; the last one may be shared in part."""
        blocks, hit, boundary = self._find_whole_blocks(request)
        self._waits.discard(request.request_id)
        manager = self.kv_cache_manager
        if not manager.prefix_cache_lookup_enabled(request):
            return blocks, hit, boundary
        whole = hit // self.block_size
        parent = request.block_hashes[whole - 1] if whole else ROOT
        # The last token is computed by every request: its logits are needed.
        rest = request.all_token_ids[hit : min(hit + self.block_size, request.num_tokens - 1)]
        tail, length = self._tails.find(parent, rest)
        if tail is None:
            return blocks, hit, boundary
        if not tail.computed():
            self._waits.add(request.request_id)
            return blocks, hit, boundary
        return manager.create_kv_cache_blocks(([*blocks.blocks[0], tail.block],)), hit + length, boundary

    def _ec_transfer_pending(self, request: Any, num_computed_tokens: int) -> bool:
        """vLLM's question whether a request has to wait for a later step."""
        if request.request_id in self._waits:
            self._waits.discard(request.request_id)
            return True
        return bool(super()._ec_transfer_pending(request, num_computed_tokens))

    def _allocate_and_remember(
        self, request: Any, num_new_tokens: int, num_new_computed_tokens: int = 0, *arguments: Any, **options: Any
    ) -> Any:
        """Allocates blocks, and remembers what of the prompt this step puts into them."""
        start = request.num_computed_tokens + num_new_computed_tokens
        allocated = self._allocate(request, num_new_tokens, num_new_computed_tokens, *arguments, **options)
        end = min(start + num_new_tokens, request.num_prompt_tokens)
        if allocated is None or start >= end:
            return allocated
        blocks = self.kv_cache_manager.get_blocks(request.request_id).blocks[0]
        for index in range(start // self.block_size, (end - 1) // self.block_size + 1):
            first, last = index * self.block_size, min((index + 1) * self.block_size, end)
            tokens = tuple(request.prompt_token_ids[first:last])
            parent = request.block_hashes[index - 1] if index else ROOT
            if self._tails.find(parent, tokens)[1] < len(tokens):
                self._tails.add(parent, Tail(tokens, blocks[index], request, last))
        return allocated

    def _take_blocks(self, count: int) -> list[Any]:
        blocks = self._new_blocks(count)
        for block in blocks:
            self._tails.forget(block.block_id)
        return blocks

    def _free_and_keep(self, blocks: Iterable[Any]) -> None:
        """Frees blocks; those that hold something to share are given away last, as vLLM does with whole ones."""
        freed = list(blocks)
        self._free(freed)
        queue = self.kv_cache_manager.block_pool.free_block_queue
        for block in freed:
            if block.ref_cnt == 0 and block.block_hash is None and self._tails.holds(block.block_id):
                queue.remove(block)
                queue.append_n([block])

    def _forget_all(self) -> bool:
        done = self._reset()
        if done:
            self._tails.clear()
        return done


class AsyncTailScheduler(TailScheduler, AsyncScheduler):
    """The same where the next step is scheduled while the last one runs (CUDA)."""


def scheduler(asynchronous: bool) -> type[Any]:
    """The class for vLLM's `scheduler_cls`."""
    return AsyncTailScheduler if asynchronous else TailScheduler
