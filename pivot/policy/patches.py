"""What ``cpu.py`` changes in each release of megatron-core that it knows: a table, with the reasons.

A release without lines in a row does not have or does not need that patch. tests/parity/test_contract.py holds the
table against the sources of the installed release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

RELEASES = ("0.16.1", "0.19.2")


class ContractError(RuntimeError):
    """The installed Megatron is not one that this table was written for."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A function or name of Megatron that does not work without CUDA as it is.

    Attributes:
        file: below ``megatron/core``.
        name: of the function (``Class.method``) or of the module's own name.
        text: what the lines hold for as long as the patch is needed.
        lines: release -> where that is.
        why: what goes wrong there.
    """

    file: str
    name: str
    text: str
    lines: Mapping[str, tuple[int, ...]]
    why: str

    @property
    def module(self) -> str:
        """Of the file."""
        return "megatron.core." + self.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def __str__(self) -> str:
        return f"{self.name} of megatron/core/{self.file}"


def _at(old: tuple[int, ...], new: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Lines of each release, in the order of RELEASES."""
    return {release: lines for release, lines in zip(RELEASES, (old, new), strict=True) if lines}


# fmt: off
# Functions that name CUDA in a literal: `device="cuda"` becomes "cpu", "torch.cuda.FloatTensor" "torch.FloatTensor".
LITERALS = (
    Patch("utils.py", "local_multi_tensor_l2_norm", "cuda", _at((1207,), (1332,)), "device of a gradient norm"),
    Patch("pipeline_parallel/schedules.py", "forward_backward_no_pipelining", "cuda",
          _at((596,), (749,)), "device of the count of tokens"),
    Patch("pipeline_parallel/schedules.py", "forward_backward_pipelining_with_interleaving", "cuda",
          _at((983,), (1121,)), "device of the count of tokens"),
    Patch("pipeline_parallel/schedules.py", "forward_backward_pipelining_without_interleaving", "cuda",
          _at((2138,), (2292,)), "device of the count of tokens"),
    Patch("optimizer/optimizer.py", "MixedPrecisionOptimizer.__init__", "cuda",
          _at((473, 481, 485), (690, 698, 702)), "device of scale and overflow flags"),
    Patch("optimizer/optimizer.py", "Float16OptimizerWithFloat16Params.__init__", "cuda",
          _at((671, 690, 696), (1009, 1028, 1034)), "other types of parameters are refused"),
    Patch("optimizer/optimizer.py", "FP32Optimizer.__init__", "cuda", _at((907,), (1249,)), "device of the scale"),
    Patch("optimizer/optimizer.py", "MegatronOptimizer.has_grad_norm_group", "cuda",
          _at((), (315,)), "device of a flag that ranks reduce"),
    Patch("optimizer/distrib_optimizer.py", "DistributedOptimizer.__init__", "cuda",
          _at((582,), (758,)), "other types of parameters get no main copy"),
    Patch("optimizer/distrib_optimizer.py", "DistributedOptimizer._build_model_and_main_param_groups", "cuda",
          _at((361, 420, 432), (401, 466, 478)), "other types of parameters are refused"),
    Patch("optimizer/clip_grads.py", "get_grad_norm_fp32", "cuda",
          _at((90, 103, 115), (96, 108, 112)), "device of the norm"),
    Patch("optimizer/clip_grads.py", "clip_grad_by_total_norm_fp32", "cuda",
          _at((167, 174), (174, 180)), "asserts the type of gradients; device of an overflow flag"),
)

# Functions and values that `cpu.py` replaces as a whole, by name.
REPLACED = (
    Patch("tensor_parallel/random.py", "_get_cuda_rng_state", "torch.cuda.random.get_rng_state",
          _at((55,), (118,)), "asks the CUDA generator"),
    Patch("tensor_parallel/random.py", "_set_cuda_rng_state", "torch.cuda.default_generators",
          _at((103,), (166,)), "sets the CUDA generator, or silently nothing"),
    Patch("transformer/moe/token_dispatcher.py", "maybe_move_tensor_to_cpu", "as_numpy=True",
          _at((880, 883, 886), (931, 934, 937)), "split sizes become numpy only when they come from CUDA"),
    Patch("tensor_parallel/mappings.py", "_gather_along_first_dim", "torch.distributed.all_gather(",
          _at((150,), (154,)), "uneven sizes (expert tensor with expert parallel), which gloo refuses"),
    Patch("tensor_parallel/mappings.py", "_reduce_scatter_along_first_dim", "torch.distributed.reduce_scatter(",
          _at((193,), (197,)), "as before"),
    Patch("optimizer/__init__.py", "Adam", "adam_cls = Adam", _at((363,), (560,)), "torch's keeps `step` elsewhere"),
    Patch("optimizer/__init__.py", "USING_PYTORCH_OPTIMIZER", "if USING_PYTORCH_OPTIMIZER:",
          _at((359,), (556,)), "would take torch's AdamW in the place of Adam"),
    Patch("optimizer/distrib_optimizer.py", "Adam", "isinstance(optimizer, (Adam, torch.optim.AdamW",
          _at((515,), (689,)), "refuses other optimizers"),
    Patch("optimizer/distrib_optimizer.py", "HAVE_APEX_OR_TE", "if not HAVE_APEX_OR_TE:",
          _at((640, 672, 818), (837, 869, 1025)), "looks for `step` where torch's AdamW keeps it"),
    Patch("optimizer/distrib_optimizer.py", "USING_APEX_OPTIMIZER", "or USING_APEX_OPTIMIZER",
          _at((654, 677), (851, 874)), "reads `step` from the parameter group"),
)

# Names that are bound only where Transformer Engine is; they become None.
UNBOUND = (
    Patch("transformer/moe/moe_utils.py", "te_general_gemm", "if te_general_gemm is not None",
          _at((1192, 1225), ()), "read by the router's linear layer"),
)

# Modules of Triton kernels that are imported whether Triton is there or not; others stand in for them while it isn't.
TRITON = (
    Patch("transformer/moe/ops/paged_stash.py", "paged_stash_copy_kernel", "import triton",
          _at((), (4, 5)), "experts' activations spilled to host memory, which nothing here asks for"),
)

# Entries of torch.cuda, and a method of tensors, that Megatron calls without asking whether there is a device; the
# lines are one example each.
STUBS = (
    Patch("tensor_parallel/mappings.py", "current_device", "device=torch.cuda.current_device()",
          _at((141,), (145,)), "some 80 calls"),
    Patch("transformer/moe/token_dispatcher.py", "current_stream", "torch.cuda.current_stream()",
          _at((871, 873), (922, 924)), "split sizes move on a side stream"),
    Patch("transformer/moe/token_dispatcher.py", "Stream", "torch.cuda.Stream()", _at((445,), (469,)), "as before"),
    Patch("pipeline_parallel/p2p_communication.py", "synchronize", "torch.cuda.synchronize()",
          _at((242,), (263,)), "after the exchange of shapes"),
    Patch("tensor_parallel/random.py", "manual_seed", "torch.cuda.manual_seed(seed)",
          _at((237,), (305,)), "a silent no-op: tensor ranks would share seeds"),
    Patch("tensor_parallel/random.py", "get_rng_state", "torch.cuda.get_rng_state()",
          _at((235, 238), (303, 306)), "asks the CUDA generator"),
    Patch("optimizer/distrib_optimizer.py", "Tensor.cuda", "send_tensor.cuda()",
          _at((1089,), (1374,)), "state that is gathered for a checkpoint"),
)
# fmt: on
