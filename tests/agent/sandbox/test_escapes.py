"""What escapes from Python sandboxes try, under every mechanism that works here; the effect is looked for from outside.

Code cannot be kept from trying: a test passes where nothing came of it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loraloop.agent.sandbox.job import python_folders
from loraloop.agent.sandbox.sandbox import SandboxResult, mechanisms, run_python
from loraloop.agent.sandbox.scratch import Scratch

Run = Callable[..., SandboxResult]

# What the attempts share: system calls by number, and a way to go on after each of them.
TOOLS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def attempt(what, *arguments):
    try:
        print('DONE', what(*arguments), flush=True)
    except BaseException as error:
        print('refused', type(error).__name__, error, flush=True)
"""


@pytest.fixture(params=mechanisms())
def run(request: pytest.FixtureRequest) -> Run:
    def call(code: str, **limits: Any) -> SandboxResult:
        return run_python(TOOLS + code, mechanism=request.param, **limits)

    return call


@pytest.fixture(params=[*mechanisms(), "unconfined"])
def anywhere(request: pytest.FixtureRequest) -> Run:
    """Runs Python in each mechanism, and without one."""

    def call(code: str, **limits: Any) -> SandboxResult:
        return run_python(TOOLS + code, mechanism=request.param, **limits)

    return call


@contextlib.contextmanager
def inheritable(path: Path) -> Iterator[int]:
    """A descriptor of a file that children of this process would get."""
    with path.open() as file:
        os.set_inheritable(file.fileno(), True)
        yield file.fileno()


# --- out of Python ------------------------------------------------------------------------------------------------


def test_subclasses_lead_to_modules_and_not_to_the_machine(run: Run, tmp_path: Path) -> None:
    """The classic walk finds `os.system`, and there is nothing that it could start."""
    made = tmp_path / "made"
    code = (
        "wrap = [c for c in ().__class__.__base__.__subclasses__() if c.__name__ == '_wrap_close'][0]\n"
        f"attempt(wrap.__init__.__globals__['system'], 'touch {made}')\n"
        "loader = [c for c in ().__class__.__base__.__subclasses__() if c.__name__ == 'BuiltinImporter'][0]\n"
        f"attempt(loader.load_module('posix').open, {str(made)!r}, 0o101)\n"
    )
    assert "refused" in run(code).stdout
    assert not made.exists()


def test_machine_code_through_ctypes_has_no_more_rights(run: Run, tmp_path: Path) -> None:
    made = tmp_path / "made"
    code = (
        f"print(libc.open({str(made).encode()!r}, 0o101, 0o600), libc.fork(), libc.vfork(), libc.socket(2, 1, 0))\n"
        f"print(libc.system(b'touch {made}'))"
    )
    assert run(code).stdout.splitlines()[0] == "-1 -1 -1 -1"
    assert not made.exists()


def test_another_program_in_its_place_is_confined_as_well(run: Run, tmp_path: Path) -> None:
    code = f"os.execv('/bin/sh', ['sh', '-c', 'echo x > {tmp_path}/made; cat /etc/passwd; exec cat {__file__}'])"
    assert run(code).stdout == ""
    assert not (tmp_path / "made").exists()


# --- files --------------------------------------------------------------------------------------------------------


def test_links_do_not_lead_out_of_the_scratch_folder(run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    before = secret.stat()
    code = (
        f"path = {str(secret)!r}\n"
        "os.symlink(path, 'soft'); os.symlink(os.path.dirname(path), 'folder'); os.symlink('/', 'root')\n"
        "attempt(os.link, path, 'hard')\n"
        "for name in ('soft', 'folder/secret', 'root' + path, '../' * 9 + path):\n"
        "    attempt(lambda: open(name).read())\n"
        "    attempt(lambda: open(name, 'w').write('changed'))\n"
        "attempt(os.rename, path, 'taken')\n"
        "attempt(os.chmod, path, 0o777); attempt(os.utime, path, (1, 1)); attempt(os.setxattr, path, 'user.x', b'y')\n"
        "attempt(os.rename, 'soft', path)\n"
    )
    result = run(code)
    assert "DONE" not in result.stdout and result.stdout.count("refused") == 14
    after = secret.stat()
    assert secret.read_text() == "hidden" and after.st_nlink == 1
    assert (after.st_mode, after.st_mtime) == (before.st_mode, before.st_mtime)


def test_descriptors_of_ours_are_not_inherited(run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    with inheritable(secret):
        result = run("for fd in range(3, 256):\n    try:\n        print(os.pread(fd, 99, 0))\n    except OSError: pass")
    assert "hidden" not in result.stdout


def test_this_python_cannot_be_changed(run: Run) -> None:
    watched = (os.path.dirname(os.__file__), os.path.realpath(sys.executable), os.__file__)
    before = [os.stat(path).st_mtime_ns for path in watched]
    code = (
        "import sys\n"
        "for folder in (sys.prefix, os.path.dirname(os.__file__), os.path.dirname(sys.executable)):\n"
        "    for path in ('/planted.py', '/lib/python3.11/site-packages/planted.pth', '/sitecustomize.py'):\n"
        "        attempt(open, folder + path, 'w')\n"
        "for path in (os.__file__, sys.executable):\n"
        "    attempt(os.chmod, path, 0o777); attempt(lambda: os.fchmod(os.open(path, 0), 0o777))\n"
        "attempt(open, os.__file__, 'a'); attempt(os.unlink, os.__file__); attempt(open, sys.executable, 'r+')\n"
    )
    assert "DONE" not in run(code).stdout
    assert before == [os.stat(path).st_mtime_ns for path in watched]


def test_devices_are_harmless_ones(run: Run) -> None:
    code = (
        "for name in ('mem', 'kmem', 'port', 'kmsg', 'kvm', 'fuse', 'tty', 'console', 'ptmx', 'vda', 'sda', 'loop0',\n"
        "             'net/tun', 'vhost-net', 'uinput', 'snapshot', 'hpet', 'shm/x'):\n"
        "    for mode in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT):\n"
        "        attempt(os.open, '/dev/' + name, mode)\n"
        "import stat\n"
        "for kind in (stat.S_IFCHR, stat.S_IFBLK):\n"
        "    for major, minor in ((1, 1), (1, 11), (8, 0), (254, 0)):\n"
        "        attempt(os.mknod, f'made{major}-{minor}-{kind}', kind | 0o666, os.makedev(major, minor))\n"
    )
    assert "DONE" not in run(code).stdout


def test_there_is_no_proc(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environments, memory, descriptors and commands of others are there; and, for root, what the kernel runs."""
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    ours = os.getpid()
    code = (
        f"for pid in ('1', os.getppid(), {ours}):\n"
        "    for name in ('environ', 'mem', 'maps', 'cmdline', 'root/etc/passwd', 'cwd/pyproject.toml', 'fd/3'):\n"
        "        attempt(lambda: open(f'/proc/{pid}/{name}', 'rb').read(4096))\n"
        "for name in ('sys/kernel/core_pattern', 'sysrq-trigger', 'self/mem', 'self/oom_score_adj', 'keys'):\n"
        "    attempt(os.open, '/proc/' + name, os.O_WRONLY)\n"
        "    attempt(os.open, '/proc/' + name, os.O_RDONLY)\n"
    )
    assert "DONE" not in run(code).stdout
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


# --- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", ["open(f'f{n}', 'wb')", "deleted(f'f{n}')"])
def test_a_disk_cannot_be_filled(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str) -> None:
    """Many files, also such as have no name any more; each is shorter than the limit."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = (
        "def deleted(name):\n    file = open(name, 'w+b')\n    os.unlink(name)\n    return file\n"
        f"import time\nfiles = []\nfor n in range(50):\n    files.append({kept})\n"
        "    files[-1].write(b'x' * 2**20); files[-1].flush()\n    time.sleep(0.01)\nprint('filled')"
    )
    result = run(code, scratch_mb=8, timeout=20)
    assert "filled" not in result.stdout and not result.ok and not result.timed_out
    assert result.overfull or "No space left" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_was_locked_up_in_the_scratch_folder_is_removed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = (
        "os.mkdir('locked', 0)\nos.makedirs('a/b')\nopen('a/b/c', 'w')\n"
        "for path in ('a/b', 'a', '.'):\n    attempt(os.chmod, path, 0)\nprint('x')"
    )
    assert run(code).stdout.endswith("x\n")
    assert list(tmp_path.iterdir()) == []


def test_memory_beside_the_address_space_is_refused(run: Run) -> None:
    code = (
        "import mmap\n"
        "attempt(os.memfd_create, 'x')\n"
        "print([libc.shmget(0, 2**20, 0o1600), libc.semget(0, 1, 0o1600), libc.msgget(0, 0o1600)])\n"
        "attempt(lambda: [mmap.mmap(-1, 2**26) for _ in range(64)])\n"
    )
    shown = run(code, memory_mb=256).stdout
    assert "DONE" not in shown and "[-1, -1, -1]" in shown


def test_nested_bombs_of_objects_end_the_process_alone(run: Run) -> None:
    for bomb in ("x = 10 ** 10 ** 10", "x = [0]\nwhile True: x *= 2", "exec('(' * 10**6)"):
        assert run(bomb, memory_mb=256, timeout=1).returncode != 0


def test_limits_of_others_cannot_be_changed(run: Run) -> None:
    limit, nice = resource.getrlimit(resource.RLIMIT_NOFILE), os.getpriority(os.PRIO_PROCESS, 0)
    cores = os.sched_getaffinity(0)
    code = (
        "import resource\n"
        f"for pid in (os.getppid(), {os.getpid()}):\n"
        "    attempt(resource.prlimit, pid, resource.RLIMIT_NOFILE, (9, 9))\n"
        "    attempt(os.setpriority, os.PRIO_PROCESS, pid, 19)\n"
        "    attempt(os.sched_setaffinity, pid, [0])\n"
    )
    assert "DONE" not in run(code).stdout
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limit
    assert (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)) == (nice, cores)


def test_no_core_is_dumped(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(Path.cwd().glob("core*"))
    code = "import resource\nprint(resource.getrlimit(resource.RLIMIT_CORE)[0], flush=True)\nctypes.string_at(0)"
    result = run(code)
    assert (result.returncode, result.stdout) == (128 + signal.SIGSEGV, "1\n")  # the kernel starts no handler at 1
    assert set(Path.cwd().glob("core*")) == before and list(tmp_path.iterdir()) == []


# --- processes ----------------------------------------------------------------------------------------------------


def marked(mark: str) -> list[str]:
    """Processes of which the command line or the working folder has the mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "cmdline").read_bytes() or mark in os.readlink(entry / "cwd"):
                    found.append(entry.name)
    return found


def test_nothing_goes_on_in_the_background(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = (
        "import subprocess, sys, threading, time, multiprocessing\n"
        "attempt(os.setsid)\n"
        "attempt(subprocess.Popen, ['/bin/sleep', '98765'])\n"
        "attempt(os.posix_spawn, '/bin/sleep', ['sleep', '98765'], {})\n"
        "attempt(lambda: multiprocessing.get_context('fork').Process(target=time.sleep, args=(98765,)).start())\n"
        "attempt(lambda: print(libc.clone3, flush=True))\n"
        "threading.Thread(target=time.sleep, args=(98765,), daemon=True).start()\n"
    )
    assert run(code).ok
    assert marked("98765") == [] and marked(str(tmp_path)) == []


def test_signals_reach_neither_the_caller_nor_its_group(anywhere: Run) -> None:
    got: list[int] = []
    numbers = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    kept = {number: signal.signal(number, lambda number, _: got.append(number)) for number in numbers}
    try:
        code = (
            "import signal\n"
            f"for target in (os.getppid(), {os.getpid()}, {os.getpgid(0)}, -{os.getpgid(0)}, -os.getppid()):\n"
            f"    for number in {[int(number) for number in numbers]}:\n"
            "        attempt(os.kill, target, number)\n"
            f"for pid in (os.getppid(), {os.getpid()}):\n"
            "    print(libc.sigqueue(pid, 10, 0), libc.tgkill(pid, pid, 10), libc.syscall(424, pid, 10, 0, 0))\n"
        )
        shown = anywhere(code).stdout
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    assert shown.count("refused") + shown.count("DONE") == 20, "all of it was tried"
    assert got == []


def test_processes_of_others_cannot_be_traced_or_read(run: Run) -> None:
    code = (
        f"for pid in (os.getppid(), {os.getpid()}):\n"
        "    print(libc.ptrace(16, pid, 0, 0), libc.process_vm_readv(pid, None, 0, None, 0, 0))\n"
        "    attempt(os.pidfd_open, pid)\n"
    )
    result = run(code)
    assert "DONE" not in result.stdout and result.stdout.count("-1 -1") == 2
    assert "TracerPid:\t0" in Path("/proc/self/status").read_text()


# --- the kernel ---------------------------------------------------------------------------------------------------

# By number on x86-64, as most have no function in the C library.
CALLS = {
    "io_uring": (425, 426, 427), "keyrings": (248, 249, 250), "bpf and perf": (321, 298), "userfaultfd": (323,),
    "modules": (175, 313, 176), "kexec and reboot": (246, 320, 169), "mounts": (165, 166, 155, 428, 429, 430, 432, 442),
    "handles": (303, 304), "clocks": (164, 227, 159, 305), "names": (170, 171), "other processes": (440, 448, 438, 312),
}  # fmt: skip


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")
def test_system_calls_are_refused_before_they_look_at_anything(run: Run) -> None:
    """EPERM, where their empty arguments would be EFAULT, EBADF or EINVAL."""
    code = (
        f"for what, numbers in {CALLS}.items():\n    for number in numbers:\n"
        "        if libc.syscall(number, 0, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() != 1:\n"
        "            print(what, number, ctypes.get_errno())\nprint('asked')"
    )
    assert run(code).stdout == "asked\n"


def test_no_namespaces_and_no_root(run: Run) -> None:
    code = (
        "for flag in (0x10000000, 0x00020000, 0x40000000, 0x20000000, 0x08000000, 0x04000000, 0x02000000):\n"
        "    print(libc.unshare(flag), libc.syscall(56, flag | 17, 0, 0, 0, 0))\n"
        "print(libc.mount(b'none', b'.', b'tmpfs', 0, None), libc.chroot(b'.'))\n"
    )
    assert set(run(code).stdout.splitlines()) == {"-1 -1"}


def test_it_holds_no_privilege_and_gets_none(run: Run, tmp_path: Path) -> None:
    """As root outside of a user namespace, all that root may would be left."""
    code = (
        "import struct\n"
        "header, data = struct.pack('Ii', 0x20080522, 0), ctypes.create_string_buffer(24)\n"
        "print(libc.capget(header, data), data.raw == bytes(24), libc.prctl(39, 0, 0, 0, 0))\n"  # no_new_privs
        "full = struct.pack('6I', *[0xffffffff] * 6)\n"
        "print(libc.capset(header, full))\n"
        "attempt(os.setgroups, [0]); attempt(os.setuid, 12345); attempt(os.setgid, 12345); attempt(os.nice, -5)\n"
        "attempt(os.chown, '.', 12345, 12345); attempt(os.chroot, '.')\n"
    )
    shown = run(code).stdout.splitlines()
    assert shown[:2] == ["0 True 1", "-1"] and not any(line.startswith("DONE") for line in shown)


# --- the network --------------------------------------------------------------------------------------------------


def test_no_socket_of_any_family(run: Run) -> None:
    code = (
        "import socket\n"
        "for family in range(46):\n    for kind in (1, 2, 3, 4, 5, 6, 10):\n"
        "        attempt(socket.socket, family, kind)"
    )
    assert "DONE" not in run(code).stdout


def test_services_of_the_machine_cannot_be_reached(run: Run, tmp_path: Path) -> None:
    """A service's socket is a file that Landlock does not guard, and one of Docker's or D-Bus's runs anything."""
    path = tmp_path / "service"
    reached: list[object] = []
    with (
        socket.socket(socket.AF_UNIX) as service,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        service.bind(str(path))
        service.listen()
        abstract.bind(f"\0{path}")
        abstract.listen()
        listeners = (service, abstract, server)
        for listener in listeners:
            threading.Thread(target=_accept, args=(listener, reached), daemon=True).start()
        code = (
            "import socket, urllib.request, asyncio\n"
            f"port = {server.getsockname()[1]}\n"
            f"for where in ({str(path)!r}, {chr(0) + str(path)!r}):\n"
            "    attempt(lambda: socket.socket(socket.AF_UNIX).connect(where))\n"
            "attempt(urllib.request.urlopen, f'http://127.0.0.1:{port}')\n"
            "attempt(socket.getaddrinfo, 'example.org', 80)\n"
            "a, b = socket.socketpair()\n"
            "attempt(b.connect, ('127.0.0.1', port)); attempt(a.sendto, b'x', ('127.0.0.1', port))\n"
            f"attempt(socket.fromfd, 0, socket.AF_INET, 1)\n"
        )
        result = run(code)
    assert reached == [] and result.ok


def _accept(listener: socket.socket, reached: list[object]) -> None:
    with contextlib.suppress(OSError):
        reached.append(listener.accept())


# --- the caller ---------------------------------------------------------------------------------------------------


def test_standard_input_is_not_a_way_back(run: Run) -> None:
    code = (
        "import fcntl, sys, termios\n"
        "print(os.read(0, 99), sys.stdin.read())\n"
        "attempt(os.write, 0, b'x'); attempt(fcntl.ioctl, 0, termios.TIOCSTI, b'x'); attempt(os.ttyname, 0)\n"
        "attempt(open, '/dev/tty'); attempt(os.openpty)\n"
    )
    shown = run(code).stdout
    assert shown.startswith("b'' \n") and "DONE" not in shown


# --- what no limit counts -----------------------------------------------------------------------------------------


def test_the_kernels_memory_cannot_be_used_up_beside_the_limits(anywhere: Run) -> None:
    """Extended attributes of files in memory, contexts of asynchronous I/O, timers and signals that wait."""
    code = (
        "open('f', 'w').close()\n"
        "attempt(os.setxattr, 'f', 'user.x', b'y' * 60000)\n"
        "print(libc.io_setup(64, ctypes.byref(ctypes.c_void_p())) if hasattr(libc, 'io_setup') else -1)\n"
        "print(libc.timer_create(0, None, ctypes.byref(ctypes.c_void_p())))\n"
        "import resource\nprint(resource.getrlimit(resource.RLIMIT_SIGPENDING)[1] <= 64)\n"
    )
    shown = anywhere(code).stdout.splitlines()
    assert shown[0].startswith("refused") and shown[1:] == ["-1", "-1", "True"]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")
def test_calls_that_take_memory_of_the_kernel_are_refused_before_they_look_at_anything(anywhere: Run) -> None:
    code = (
        "for number in (188, 189, 190, 463, 206, 222, 253, 294, 444, 445, 446):\n"
        "    print(libc.syscall(number, 0, 0, 0, 0, 0, 0), ctypes.get_errno())"
    )
    assert set(anywhere(code).stdout.splitlines()) == {"-1 1"}


HIDING = {
    "while others come and go": (
        "import threading\n"
        "def churn():\n    while True:\n        open('a', 'w').close()\n        os.unlink('a')\n"
        "for _ in range(3): threading.Thread(target=churn, daemon=True).start()\n"
        "time.sleep(1)\n"
        "for n in range(60): open(f'f{n}', 'wb').write(MB); time.sleep(0.02)\n"
    ),
    "in a message": (
        "import array, socket\n"
        "a, b = socket.socketpair()\n"
        "for n in range(60):\n"
        "    with open('f', 'wb') as file:\n"
        "        file.write(MB); os.unlink('f')\n"
        "        a.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [file.fileno()]))])\n"
        "    time.sleep(0.02)\n"
    ),
    "in a mapping": (
        "libc.mmap.restype = ctypes.c_void_p\n"
        "for n in range(60):\n"
        "    with open('f', 'w+b') as file:\n"
        "        file.write(MB); file.flush(); os.unlink('f')\n"
        "        assert libc.mmap(None, 4096, 1, 2, file.fileno(), 0) != ctypes.c_void_p(-1).value\n"
        "    time.sleep(0.02)\n"
    ),
    "in the open files of a thread": (
        "libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]\n"
        "stacks = ctypes.create_string_buffer(60 * 65536)\n"
        "for n in range(60):\n"
        "    with open('f', 'wb') as file:\n"
        "        file.write(MB); file.flush(); os.unlink('f')\n"
        "        top = (ctypes.addressof(stacks) + (n + 1) * 65536) & ~15\n"
        "        assert libc.clone(ctypes.cast(libc.pause, ctypes.c_void_p), top, 0x10900, None) > 0, 'refused'\n"
        "    time.sleep(0.02)\n"
    ),
    "in space that is not written": (
        "for n in range(60): os.posix_fallocate(os.open(f'f{n}', os.O_RDWR | os.O_CREAT), 0, 2**20)\n"
    ),
}


@pytest.mark.parametrize("where", HIDING)
def test_what_a_program_writes_cannot_be_hidden(
    anywhere: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = anywhere(f"import time\nMB = b'x' * 2**20\n{HIDING[where]}print('filled')", scratch_mb=8, timeout=20)
    assert "filled" not in result.stdout and not result.ok and not result.timed_out
    assert list(tmp_path.iterdir()) == []


def test_who_watches_the_scratch_folder_is_not_blinded(anywhere: Run) -> None:
    """A process that is not dumpable shows its open files to root alone."""
    refused = "print(libc.prctl(4, 0, 0, 0, 0) if os.getcwd() != '/scratch' else -1, libc.syscall(436, 9, 9, 2))"
    assert anywhere(refused).stdout == "-1 -1\n"


def test_a_file_without_a_name_may_be_mapped(anywhere: Run) -> None:
    code = (
        "import mmap, tempfile, time\n"
        "with tempfile.TemporaryFile() as file:\n    file.write(b'x' * 2**20)\n    file.flush()\n"
        "    mapped = mmap.mmap(file.fileno(), 0)\n"
        "open('f', 'wb').write(b'x' * 2**20)\ntime.sleep(0.3)\nprint(mapped[:2])\n"
    )
    result = anywhere(code, scratch_mb=8)
    assert result.ok and result.stdout == "b'xx'\n", result


def test_files_that_can_only_be_read_are_not_changed_or_held(anywhere: Run) -> None:
    """By leases, of which others wait for the end; by the flags of a file; by watching folders."""
    code = (
        "import fcntl, struct, sys\n"
        "fd = os.open(os.__file__, os.O_RDONLY)\n"
        "attempt(fcntl.fcntl, fd, 1024, fcntl.F_RDLCK)\n"
        "attempt(fcntl.fcntl, os.open(os.path.dirname(os.__file__), os.O_RDONLY), 1026, 0x1)\n"
        "for request in (0x40086602, 0x40046602, 0x40087602, 0x401C5820):\n"
        "    attempt(fcntl.ioctl, fd, request, bytes(28))\n"
    )
    shown = anywhere(code).stdout.splitlines()
    assert len(shown) == 6 and all("[Errno 1]" in line for line in shown), shown


def test_a_pair_of_sockets_is_of_one_family(anywhere: Run) -> None:
    shown = anywhere(
        "import socket\nfor family in (0, 2, 10, 30, 38):\n    attempt(socket.socketpair, family, 1)"
    ).stdout
    assert shown.count("[Errno 1]") == 5, "others are refused before the kernel loads a module for them"


def test_files_below_very_long_paths_are_counted(
    anywhere: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = (
        "import time\n"
        "for n in range(40):\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)\n"
        "for n in range(60):\n    open(f'f{n}', 'wb').write(b'x' * 2**20)\n    time.sleep(0.01)\nprint('filled')"
    )
    result = anywhere(code, scratch_mb=8, timeout=20)
    assert "filled" not in result.stdout and not result.ok and not result.timed_out
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_folder_of_any_depth_is_removed() -> None:
    scratch = Scratch(8)
    here = os.open(scratch.path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", 0o700, dir_fd=here)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=here))
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.fchmod(here, 0o300)
        os.close(here)
        here = inner
    os.close(here)
    scratch.close()
    assert not os.path.exists(scratch.path)


@pytest.mark.parametrize("depth", [90, 3000])
def test_folders_of_any_depth_are_removed(
    anywhere: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    step = "    os.mkdir('d', 0o300)\n    open('f', 'w').close()\n    os.chdir('d')\n"
    code = f"for n in range({depth}):\n{step}print('made')"
    result = anywhere(code, timeout=20)
    assert result.overfull or result.stdout == "made\n"
    assert list(tmp_path.iterdir()) == []


def test_a_pair_of_sockets_reaches_no_other_socket(anywhere: Run, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(tmp_path / "service"))
        service.setblocking(False)
        code = (
            "import socket\n"
            f"path = {str(tmp_path / 'service')!r}\n"
            "for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC):\n"
            "    attempt(lambda: socket.socketpair(socket.AF_UNIX, kind)[0].sendto(b'x', path))\n"
            "a, b = socket.socketpair()\na.send(b'own')\nprint(b.recv(9))\n"
            "attempt(a.sendto, b'x', path)\n"
        )
        shown = anywhere(code).stdout
        with pytest.raises(BlockingIOError):
            service.recv(99)
    assert "DONE" not in shown and "b'own'" in shown


def test_the_kernel_signals_nobody_for_it(anywhere: Run) -> None:
    got: list[int] = []
    numbers = (signal.SIGUSR1, signal.SIGIO)
    kept = {number: signal.signal(number, lambda number, _: got.append(number)) for number in numbers}
    try:
        code = (
            "import fcntl, socket, struct\n"
            "a, b = socket.socketpair()\n"
            f"for pid in (os.getppid(), {os.getpid()}):\n"
            "    attempt(fcntl.fcntl, a, fcntl.F_SETOWN, pid)\n"
            "    attempt(fcntl.fcntl, a, 15, struct.pack('ii', 1, pid))\n"
            "    for request in (0x8901, 0x8902):\n"
            "        attempt(fcntl.ioctl, a, request, struct.pack('i', pid))\n"
            f"attempt(fcntl.fcntl, a, 10, {int(signal.SIGUSR1)})\n"
            "fcntl.fcntl(a, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)\nb.send(b'x')\n"
        )
        shown = anywhere(code).stdout
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    assert got == [] and "DONE" not in shown and shown.count("refused") == 9


def test_a_home_that_is_pythons_prefix_is_not_readable(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", sys.base_prefix)
    python_folders.cache_clear()
    try:
        shown = run(
            "import sys, ssl, sqlite3, json\n"
            "attempt(lambda: len(open(sys.base_prefix + '/bin/python3-config').read()))\n"
            "print('ran')\n"
        ).stdout
    finally:
        monkeypatch.undo()
        python_folders.cache_clear()
    assert "DONE" not in shown and shown.endswith("ran\n")
