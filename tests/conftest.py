"""What every test runs under. Set before anything imports torch or vLLM, which read it once."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # ranks and engines of one test share few cores
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # models come from files; a test that asks a hub is wrong
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # tests fork
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
