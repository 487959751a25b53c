"""A vLLM server as a sampler: what is asked, what is believed, how it is started and stopped."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pivot.errors import UserError
from pivot.rollout import Placement, Sampling, serve
from pivot.rollout.server import MOST_OVERHEAD, Question, Server, ServerError, fetcher, read_completion, served
from pivot.rollout.start import decoding

MODEL = "pivot/world/tiny-moe"
ROOT = Path(__file__).resolve().parents[3]
HOT = Sampling(0.7, 0.9, 4)
Behaviour = Callable[[dict[str, Any]], Any]


def good(body: dict[str, Any]) -> dict[str, Any]:
    """A reply whose tokens say what was asked: prompt length and seed."""
    ids = [len(body["prompt"]), body["seed"]]
    choice = {
        "prompt_token_ids": body["prompt"],
        "token_ids": ids,
        "logprobs": {"token_logprobs": [-0.5, -1]},
        "finish_reason": "stop",
    }
    return {"choices": [choice]}


@contextmanager
def server(behave: Behaviour = good, models: Any = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A real HTTP server; `behave` returns JSON, bytes or a status. Yields address and requests."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(models or {"data": [{"id": "m", "max_model_len": 64}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(body)
            self.answer(behave(body))

        def answer(self, said: Any) -> None:
            status, data = (said, b"no") if isinstance(said, int) else (200, said)
            data = data if isinstance(data, bytes) else json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None: ...

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{found.server_port}", seen
    finally:
        found.shutdown()
        found.server_close()
        thread.join()


def test_one_request_a_completion_with_its_own_seed_in_order() -> None:
    with server() as (url, seen):
        client = Server(url, ROOT / MODEL, max_model_len=10, placement=Placement.of(1, 2), concurrency=3)
        drawn = client.sample([[5, 6], [7] * 8], [100, 200], 3, HOT)
    assert [[c.token_ids for c in group] for group in drawn] == [[(2, 100), (2, 101), (2, 102)],
                                                                 [(8, 200), (8, 201), (8, 202)]]  # fmt: skip
    first = drawn[0][0]
    assert (first.logprobs, first.finish_reason, first.weight_version) == ((-0.5, -1.0), "stop", "m")
    assert first.text == client.tokenizer.decode([2], skip_special_tokens=False)
    assert client.placement == Placement(1, False, 2, 1, 0)
    asked = next(body for body in seen if body["seed"] == 202)
    assert asked == {
        "model": "m", "prompt": [7] * 8, "seed": 202, "max_tokens": 2, "temperature": 0.7, "top_p": 0.9, "top_k": 0,
        "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "logprobs": 0,
        "return_token_ids": True,
    }  # fmt: skip


def test_a_request_that_no_engine_could_serve_is_not_sent() -> None:
    with server() as (url, seen):
        client = Server(url, ROOT / MODEL, max_model_len=10)
        with pytest.raises(ValueError, match=r"prompt 1 has 10 tokens; between 1 and 9 fit"):
            client.sample([[1], [1] * 10], [0, 0], 1, HOT)
        with pytest.raises(ValueError, match="2 prompts but 1 seeds"):
            client.sample([[1], [1]], [0], 1, HOT)
        assert seen == []


QUESTION = Question((5, 6), 3, HOT, 2)
BAD: list[tuple[str, dict[str, Any] | None]] = [
    ("another one", {"prompt_token_ids": [5, 6, 7]}),
    ("ids below 50", {"token_ids": [1, 50]}),
    ("ids below 50", {"token_ids": [1, -1]}),
    ("ids below 50", {"token_ids": [1, True]}),
    ("ids below 50", {"token_ids": "ab"}),
    ("0 tokens", {"token_ids": []}),
    ("3 tokens, asked for were 1 to 2", {"token_ids": [1, 2, 3]}),
    ("another number of logprobs", {"logprobs": {"token_logprobs": [-1.0]}}),
    ("another number of logprobs", {"logprobs": {"token_logprobs": None}}),
    ("finite numbers", {"logprobs": {"token_logprobs": [-1.0, None]}}),
    ("finite numbers", {"logprobs": {"token_logprobs": [-1.0, float("nan")]}}),
    ("finite numbers", {"logprobs": {"token_logprobs": [-1.0, 0.5]}}),
    ("ended with 'abort'", {"finish_reason": "abort"}),
    ("ended with 'length' after 1 of 2", {"finish_reason": "length", "token_ids": [1],
                                          "logprobs": {"token_logprobs": [-1]}}),
    ("not one choice", {"logprobs": None}),
    ("not one choice", None),
]  # fmt: skip


@pytest.mark.parametrize(("message", "change"), BAD)
def test_what_was_not_asked_for_is_refused(message: str, change: dict[str, Any] | None) -> None:
    reply = good({"prompt": [5, 6], "seed": 3})
    assert read_completion(reply, QUESTION, 50) == ((2, 3), (-0.5, -1.0), "stop")
    if change is None:
        reply["choices"] *= 2
    else:
        reply["choices"][0] |= change
    with pytest.raises(ValueError, match=message):
        read_completion(reply, QUESTION, 50)


@pytest.mark.parametrize("reply", [None, [], {}, {"choices": []}, {"choices": 3}, {"choices": ["text"]}])
def test_a_reply_of_another_shape_is_refused(reply: Any) -> None:
    with pytest.raises(ValueError, match="not one choice"):
        read_completion(reply, QUESTION, 50)


def test_a_refused_reply_names_the_server() -> None:
    with server(lambda body: {"choices": []}) as (url, _):
        client = Server(url, ROOT / MODEL, max_model_len=10)
        with pytest.raises(ServerError, match=f"{url}: a completion that was not asked for: not one choice"):
            client.sample([[1]], [0], 1, HOT)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"data": []}, "must list one model"),
        ({"data": [{}, {}]}, "must list one model"),
        (["x"], "must list one model"),
        ({"data": [{"id": "m"}]}, "is this a vLLM server"),
        ({"data": [{"id": "m", "max_model_len": 5}]}, "start it with --max-model-len 10"),
    ],
)
def test_a_server_of_something_else_is_refused(models: Any, message: str) -> None:
    with pytest.raises(ServerError, match=message):
        served(models, "http://x", 10)


def test_trouble_on_the_way_is_tried_again_and_then_told() -> None:
    turns = iter([503, 500, {"ok": 1}])
    with server(lambda body: next(turns)) as (url, seen):
        assert fetcher(url, 5.0)("/v1/completions", {}, 100) == {"ok": 1}
        assert len(seen) == 3
    for behave, message, count in [
        (lambda body: 503, "status 503: no", 4),
        (lambda body: 400, "status 400: no", 1),
        (lambda body: b"{", "not JSON", 1),
        (lambda body: b"1" * 101, "longer than 100 bytes", 1),
    ]:
        with server(behave) as (url, seen), pytest.raises(ServerError, match=message):
            fetcher(url, 5.0)("/v1/completions", {}, 100)
        assert len(seen) == count
    with pytest.raises(ServerError, match=r"no answer .* is the server running there"):
        Server(url, ROOT / MODEL, max_model_len=10)  # it has been shut down


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with server() as (url, _):
        assert fetcher(url, 5.0)("/v1/models", None, MOST_OVERHEAD)["data"][0]["id"] == "m"


def test_the_command_line_has_the_projects_settings() -> None:
    given = {"enable_expert_parallel": False, "compilation_config": {"mode": "NONE"}, **decoding(False)}
    line = serve.command("there", 8000, dtype="float32", max_model_len=64, **given)
    assert line[:7] == [
        sys.executable, "-m", "pivot.rollout.serve", "--model", "there", "--served-model-name", "model"
    ]  # fmt: skip
    pairs = " ".join(line[7:])
    for part in ("--host 127.0.0.1", "--port 8000", "--dtype float32", "--no-enable-expert-parallel",
                 '--compilation-config {"mode": "NONE"}', "--enforce-eager", "--logprobs-mode processed_logprobs",
                 "--generation-config vllm"):  # fmt: skip
        assert part in pairs


def test_packages_of_the_server_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(serve, "PACKAGES", {"json": "json", "not_there": "not-there"})
    with (
        pytest.raises(UserError, match=r"pip install --no-deps not-there; or .*server=null"),
        serve.serve("x", tmp_path),
    ):
        pass


def test_a_server_is_no_rank() -> None:
    ours = {"RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "x", "SLURM_PROCID": "1"}
    engines = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_DIST_IDENT": "x"}
    kept = {"PATH": "here", "CUDA_VISIBLE_DEVICES": "0,1", "HF_HUB_OFFLINE": "1", "VLLM_CACHE_ROOT": "cache"}
    assert serve.environment({**ours, **engines, **kept}) == kept


STUB = """
import os, signal, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Healthy(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *a): pass
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(worker.pid, flush=True)
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
HTTPServer(("127.0.0.1", int(sys.argv[1])), Healthy).serve_forever()
"""


def gone(pid: int) -> bool:
    """Whether a process has ended, also when nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("temper", ["kind", "deaf"])
def test_a_started_server_and_its_workers_are_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, temper: str
) -> None:
    log = tmp_path / "logs" / "server.log"
    monkeypatch.setattr(serve, "PACKAGES", {})
    monkeypatch.setattr(serve, "STOP_SECONDS", 0.5)
    monkeypatch.setattr(serve, "command", lambda path, port: [sys.executable, "-c", STUB, str(port), temper])
    with serve.serve("there", log) as url:
        assert url.startswith("http://127.0.0.1:")
        worker = int(log.read_text())
        assert not gone(worker)
    end = time.monotonic() + 10
    while not gone(worker):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert os.path.exists(log)


def test_a_server_that_does_not_come_up_shows_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = "print('out of luck'); raise SystemExit(3)"
    monkeypatch.setattr(serve, "PACKAGES", {})
    monkeypatch.setattr(serve, "command", lambda path, port: [sys.executable, "-c", code])
    with pytest.raises(UserError, match=r"(?s)ended with status 3 .*out of luck"), serve.serve("x", tmp_path / "log"):
        pass
    monkeypatch.setattr(serve, "command", lambda path, port: [sys.executable, "-c", "import time; time.sleep(600)"])
    monkeypatch.setattr(serve, "START_SECONDS", 0.3)
    with pytest.raises(UserError, match="did not answer within 0 s"), serve.serve("x", tmp_path / "log"):
        pass
