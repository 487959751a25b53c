"""The report in a real browser: nothing runs, nothing is fetched, everything is there."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pivot.report.page import render
from tests.report_sample import report

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=2000",
)


class Site:
    """Serves pages on this machine's loopback and remembers what was asked for."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                body = site.pages.get(self.path, "").encode()
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


def attack(site: Site) -> str:
    """Text that, taken as markup, changes the title, logs to the console and fetches."""
    return (
        "</pre></title></style><script>document.title='owned';console.error('owned')</script>"
        f"<img src='{site.address}/stolen.png' onerror=\"document.title='owned'\">"
        f"<link rel=stylesheet href='{site.address}/stolen.css'>"
    )


def browse(site: Site, html: str, profile: Path) -> tuple[str, list[str]]:
    """The page's DOM after loading, and what it wrote to the console."""
    assert CHROMIUM is not None
    site.pages["/page.html"] = html
    site.asked.clear()
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", f"{site.address}/page.html"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_attack_works_on_a_page_that_does_not_escape(site: Site, tmp_path: Path) -> None:
    """So the next test can fail."""
    dom, console = browse(site, f"<!doctype html><title>x</title><pre>{attack(site)}</pre>", tmp_path)
    assert "<title>owned</title>" in dom
    assert console
    assert {"/stolen.png", "/stolen.css"} <= set(site.asked)


def test_report_is_inert_and_whole(site: Site, tmp_path: Path) -> None:
    dom, console = browse(site, render(report(attack(site))), tmp_path)
    assert site.asked == ["/page.html"]
    assert console == []
    assert "<title>owned</title>" not in dom
    assert "&lt;script&gt;document.title='owned'" in dom
    assert "<script" not in dom
    for section in ("summary", "mining", "turns", "training", "examples", "seconds"):
        assert f'<section id="{section}"' in dom
    assert dom.count("<svg") == 3
