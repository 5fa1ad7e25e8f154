"""`loraloop data teacher` and `preferences`: records made by an endpoint, a base, or of a skill's own outputs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loraloop.adapters.base import Base, Message
from loraloop.adapters.skill.blank import blank_skill
from loraloop.adapters.skill.contracts import Passage
from loraloop.adapters.training.data.example import transcript
from loraloop.adapters.training.data.readers import Reading, read_file
from loraloop.adapters.training.data.record import Record, RecordPlace
from loraloop.adapters.training.recipe.objective import encoded
from loraloop.adapters.training.scoring.score import right
from loraloop.adapters.training.teacher.making import preferences, write_rows
from loraloop.agent.engine.sampler import Sampling
from loraloop.cli.main import run_command
from loraloop.evals.bench import Bench
from loraloop.tool_schemas.errors import InputError

TOOL = {"name": "f", "description": "", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}
CALL = '[{"name":"f","arguments":{"x":1}}]'


@pytest.fixture
def endpoint() -> Iterator[tuple[str, list[Any]]]:
    """An endpoint that says how long the last message was."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            completion = {
                "choices": [
                    {
                        "message": {"content": f"{len(body['messages'][-1]['content'])} characters"},
                        "finish_reason": "length" if body["max_tokens"] < 8 else "stop",
                    }
                ]
            }
            text = json.dumps(completion).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", asked
    server.shutdown()


def prompts(folder: Path) -> Path:
    path = folder / "prompts.jsonl"
    rows = [{"prompt": "abc" * k, "completion": "?"} for k in (1, 2, 3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path, contract: str = "text") -> list[Record]:
    found = list(read_file(path, Reading(contract)))
    assert all(isinstance(entry, Record) for entry in found), found
    return [entry for entry in found if isinstance(entry, Record)]


def test_a_teacher_at_an_endpoint_writes_and_is_asked_once(tmp_path: Path, endpoint: tuple[str, list[Any]]) -> None:
    url, asked = endpoint
    command = ["data", "teacher", str(prompts(tmp_path)), "--out", str(tmp_path / "made.jsonl"), "--url", url]
    for _ in range(2):
        assert run_command([*command, "--model", "m"]) == 0
    assert len(asked) == 3 and {body["model"] for body in asked} == {"m"}, "what was answered is not asked again"
    assert [r.completion for r in read(tmp_path / "made.jsonl")] == ["3 characters", "6 characters", "9 characters"]


def test_a_completion_that_was_cut_off_is_left_out(
    tmp_path: Path, endpoint: tuple[str, list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["data", "teacher", str(prompts(tmp_path)), "--out", str(tmp_path / "made.jsonl")]
    for _ in range(2):
        assert run_command([*command, "--url", endpoint[0], "--model", "m", "--max-tokens", "7"]) == 2
        err = capsys.readouterr().err
        assert "3 records left out" in err and "--max-tokens" in err and "nothing was written" in err
    assert len(endpoint[1]) == 3, "nor is it asked for again"


def test_a_local_base_teaches_and_a_skill_judges_itself(
    tmp_path: Path, save_llama: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    save_llama(tmp_path / "tiny")
    base, file = str(tmp_path / "tiny"), str(prompts(tmp_path))
    made, local = str(tmp_path / "made.jsonl"), ["--base", base, "--quantize", "fp32", "--max-tokens", "4"]
    assert run_command(["data", "teacher", file, "--out", made, *local]) == 2, "4 tokens are no whole completion"
    assert run_command(["data", "teacher", file, "--out", made, *local, "--max-tokens", "999"]) == 0
    blank_skill(Base.load(base, quantize="fp32"), "blank").save(tmp_path / "blank")
    pairs = str(tmp_path / "pairs.jsonl")
    options = ["--skill", str(tmp_path / "blank"), *local, "--samples", "2"]
    assert run_command(["data", "preferences", file, "--out", pairs, *options]) == 2
    assert "6 outputs left out: they did not end within 4 tokens (--max-tokens)" in capsys.readouterr().err
    assert run_command(["data", "preferences", file, "--out", pairs, *options, "--max-tokens", "999"]) == 0
    records = read(Path(pairs))
    assert records and all(r.completion == "?" and r.rejected not in (None, "?") for r in records)


def test_a_skill_is_judged_on_what_it_reads_in_use(tmp_path: Path, save_llama: Any) -> None:
    save_llama(tmp_path / "tiny")
    base, how = Base.load(str(tmp_path / "tiny"), quantize="fp32"), ["--quantize", "fp32", "--contract", "calls"]
    blank_skill(base, "blank").save(tmp_path / "blank")
    note, asked, extra = Message("system", "Dates: none"), Message("user", "Do it."), Message("user", "Do it right.")
    row = {
        "instructions": "# Tools\nUse them.\n\n# Style\nBe brief.",
        "messages": [{"role": each.role, "content": each.content} for each in (note, asked)],
        "extra_prompt": extra.content,
        "tools": [TOOL],
        "calls": json.loads(CALL),
        "part": "test",
    }
    (tmp_path / "asked.jsonl").write_text(json.dumps(row), encoding="utf-8")
    out, options = tmp_path / "pairs.jsonl", ["--skill", str(tmp_path / "blank"), "--max-tokens", "999"]
    drawn = ["--temperature", "1", "--samples", "1", "--base", str(tmp_path / "tiny"), *how]
    assert run_command(["data", "preferences", str(tmp_path / "asked.jsonl"), "--out", str(out), *options, *drawn]) == 0
    reading = Reading("calls", header=base.prompting.tools_header)
    (before,) = read_file(tmp_path / "asked.jsonl", reading)
    (after,) = read_file(out, reading)
    assert isinstance(before, Record) and isinstance(after, Record)
    assert (after.key, after.part, after.completion) == (before.key, "test", CALL)
    written = Bench(base, None, 999).write([*before.messages, extra], None, sampling=Sampling(1.0, seed=0))
    assert after.rejected == written.text.strip()
    (wanted, unwanted), (alone,) = encoded(base, after, "dpo").branches, encoded(base, before).branches
    assert wanted.tokens == alone.tokens and unwanted.tokens[: unwanted.start] == alone.tokens[: alone.start]


def test_tokens_are_counted_with_tools_as_the_base_lists_them(
    tmp_path: Path, save_llama: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    save_llama(tmp_path / "tiny", hidden_size=64, intermediate_size=96)
    base, file = Base.load(str(tmp_path / "tiny")), tmp_path / "asked.jsonl"
    file.write_text(json.dumps({"request": "Do it.", "tools": [TOOL], "calls": json.loads(CALL)}), encoding="utf-8")
    (record,) = read_file(file, Reading("calls", header=base.prompting.tools_header))
    assert isinstance(record, Record)
    for longest, count in ((length := encoded(base, record).length, 1), (length - 1, 0)):
        options = ["--contract", "calls", "--base", str(tmp_path / "tiny"), "--longest", str(longest)]
        assert run_command(["data", "check", str(file), *options]) == 0
        assert f"{count} example{'s' * (count != 1)} to train on" in capsys.readouterr().out


def test_a_teacher_is_needed_and_only_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, url = str(tmp_path / "out.jsonl"), ["--url", "http://127.0.0.1:9/v1"]
    for given in ([], url, [*url, "--model", "m", "--skill", "tools"], ["--base", "smollm2-135m", "--model", "m"]):
        assert run_command(["data", "teacher", str(prompts(tmp_path)), "--out", out, *given]) == 2
        assert "give a teacher" in capsys.readouterr().err and not Path(out).exists()
    with pytest.raises(InputError, match="nothing was written"):
        write_rows([], Path(out))


def test_what_cannot_be_made_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    command = ["data", "teacher", str(prompts(tmp_path)), "--url", "http://127.0.0.1:9/v1", "--model", "m", "--out"]
    assert run_command([*command, str(tmp_path / "file" / "made.jsonl")]) == 2
    assert "cannot write" in capsys.readouterr().err
    for kind in (["teacher", "--base", "smollm2-135m"], ["preferences", "--skill", "tools"]):
        asked, inside = prompts(tmp_path), tmp_path / "file" / "made.jsonl"
        before = asked.read_bytes()
        for out, said in ((inside, "cannot write"), (tmp_path, "is a folder"), (asked, "is read from")):
            assert run_command(["data", *kind, str(asked), "--out", str(out)]) == 2
            assert said in capsys.readouterr().err and asked.read_bytes() == before
    assert run_command(["data", "from-worlds", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err, "before the worlds are opened"
    assert run_command([*command, str(tmp_path / "made.jsonl"), "--limit", "-1"]) == 2
    assert "--limit" in capsys.readouterr().err


def record(contract: str, completion: str, **parts: Any) -> Record:
    messages = transcript([Message("user", "Do it.")], "Be brief.", parts.get("tools", ()))
    return Record(messages, completion, contract, RecordPlace("a", 1), **parts)


class Said:
    """Writes the same of everything."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def __call__(self, transcripts: Any, samples: int, done: Any) -> list[list[str]]:
        return [list(self.texts) for _ in transcripts]


def test_pairs_keep_tools_and_passages_and_may_reject_anything(tmp_path: Path) -> None:
    called = record("calls", CALL, tools=(TOOL,), gold={"calls": json.loads(CALL)})
    rows = preferences([called], Said(CALL, "[]", "nonsense", CALL))
    write_rows(rows, tmp_path / "calls.jsonl")
    pairs = read(tmp_path / "calls.jsonl", "calls")
    assert [(r.completion, r.rejected) for r in pairs] == [(CALL, "[]"), (CALL, "nonsense")]
    assert pairs[0].messages == called.messages and pairs[0].tools == called.tools
    good = '{"answerable":true,"citations":["p"],"answer":"Ada"}'
    gold = {"answerable": True, "citations": ["p"], "answers": ["Ada"]}
    cited = record("answer", good, passages=(Passage("p", "Ada did."),), gold=gold)
    write_rows(preferences([cited], Said('{"answerable":false}')), tmp_path / "answer.jsonl")
    (pair,) = read(tmp_path / "answer.jsonl", "answer")
    assert (pair.completion, pair.rejected) == (good, '{"answerable":false}') and pair.gold["answers"] == ["Ada"]
    assert right(record("text", "Yes"), "Yes") and not right(record("text", "Yes"), "No")
