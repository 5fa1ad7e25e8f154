"""The server as a process: its first request after the start, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import httpx

ASKED = {"model": "auto", "messages": [{"role": "user", "content": "Count to ten."}], "max_completion_tokens": 8}


def test_the_first_request_is_answered_soon_after_the_start_and_the_last_one_to_its_end() -> None:
    """The bounds are wide, for machines that are busy; `benchmarks/serve.py` measures both."""
    command = [sys.executable, "-m", "loraloop", "serve", "--port", "0"]
    start = time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            while "listening on" not in line:
                assert line or process.poll() is None, "the server ended"
                line = process.stderr.readline()
            listening = time.monotonic()
            answer = httpx.post(f"{line.split()[-1]}/v1/chat/completions", json=ASKED, timeout=60)
            answered = time.monotonic()
            asked = {**ASKED, "model": "base", "max_completion_tokens": 60, "stream": True}
            url = f"{line.split()[-1]}/v1/chat/completions"
            with httpx.stream("POST", url, json=asked, timeout=60) as stream:
                lines = stream.iter_lines()
                next(line for line in lines if '"delta": {"content"' in line)
                process.send_signal(signal.SIGTERM)
                told = [line for line in lines if line]
        except BaseException:
            process.kill()
            raise
        assert told[-1] == "data: [DONE]" and '"finish_reason": "' in told[-2] and len(told) > 10
        assert answer.status_code == 200 and answer.json()["choices"][0]["message"]["content"]
        assert listening - start < 40 and answered - listening < 15
        assert process.wait(30) == 0 and "Traceback" not in process.stderr.read()
