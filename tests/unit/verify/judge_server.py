"""A real HTTP server that speaks the OpenAI chat API and answers as a test tells it to."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# (question, number of the request from 0) -> reply text, or (status, body bytes)
Behaviour = Callable[[str, int], str | tuple[int, bytes]]


@dataclass
class Seen:
    """What reached the server."""

    questions: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def _chat_reply(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps(
        {"id": "x", "object": "chat.completion", "created": 0, "model": "judge", "choices": [choice]}
    ).encode()


@contextmanager
def judge_server(behave: Behaviour, delay_s: float = 0.0) -> Iterator[tuple[str, Seen]]:
    """Serve on a free port; yields the base URL and what was seen."""
    seen = Seen()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            question = body["messages"][0]["content"]
            with seen.lock:
                number = len(seen.questions)
                seen.questions.append(question)
                seen.keys.append(self.headers["Authorization"])
                seen.at_once += 1
                seen.most_at_once = max(seen.most_at_once, seen.at_once)
            time.sleep(delay_s)
            answer = behave(question, number)
            status, data = answer if isinstance(answer, tuple) else (200, _chat_reply(answer))
            with seen.lock:
                seen.at_once -= 1
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:  # the client gave up
                pass

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
