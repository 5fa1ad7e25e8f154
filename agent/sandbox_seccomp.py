"""A seccomp filter for sandboxed Python: one process, no sockets, no way to administer the kernel.

The filter is a classic BPF program in the kernel's ``struct sock_filter`` layout (``<linux/filter.h>``), over
``struct seccomp_data`` (``<linux/seccomp.h>``). Namespaces hide files and the network; the filter adds what they do
not give: a bound on processes that also holds for root, and a smaller kernel surface.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass

_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little-endian
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000  # x86-64's second set of system calls


@dataclass(frozen=True, slots=True)
class _Calls:
    audit: int
    clone: int
    denied: tuple[int, ...]
    x32: bool


# Denied on both: io_uring (425-427), open_tree, move_mount, fsopen (428-430), pidfd_getfd (438), mount_setattr (442).
_COMMON = (425, 426, 427, 428, 429, 430, 438, 442)
# In this order: fork, vfork, socket, ptrace, process_vm_readv and _writev, unshare, setns, mount, umount2, pivot_root,
# chroot, bpf, perf_event_open, userfaultfd, add_key, request_key, keyctl, kexec_load, init_module, finit_module,
# delete_module, reboot, swapon, open_by_handle_at, quotactl, acct, settimeofday, clock_settime, sethostname, syslog.
_X86_64 = (
    *(57, 58, 41, 101, 310, 311, 272, 308, 165, 166, 155, 161, 321, 298, 323, 248, 249, 250, 246, 175, 313),
    *(176, 169, 167, 304, 179, 163, 164, 227, 170, 103),
)
_AARCH64 = (
    *(198, 117, 270, 271, 97, 268, 40, 39, 41, 51, 280, 241, 282, 217, 218, 219, 104, 105, 273, 106, 142, 224),
    *(265, 60, 89, 170, 112, 161, 116),
)
_MACHINES = {
    "x86_64": _Calls(0xC000003E, 56, _X86_64 + _COMMON, True),
    "aarch64": _Calls(0xC00000B7, 220, _AARCH64 + _COMMON, False),
}
_CLONE3 = 435  # its flags are behind a pointer that a filter cannot read; glibc falls back to clone on ENOSYS


def filter_program(machine: str | None = None) -> bytes | None:
    """The compiled filter, ready for ``bwrap --seccomp`` or ``prctl``.

    Args:
        machine: As ``platform.machine()`` names it; this machine if None.

    Returns:
        The program's bytes (8 per instruction), or None on a machine whose system calls are not listed here.
    """
    calls = _MACHINES.get(machine or platform.machine())
    if calls is None:
        return None
    tests = [(_JUMP_EQUAL, _CLONE3, "nosys"), *((_JUMP_EQUAL, number, "deny") for number in calls.denied)]
    if calls.x32:
        tests.insert(0, (_JUMP_GREATER_EQUAL, _X32, "kill"))
    body: list[tuple[int, int, str | None, str | None]] = [
        (_LOAD, _ARCHITECTURE, None, None),
        (_JUMP_EQUAL, calls.audit, None, "kill"),
        (_LOAD, _NUMBER, None, None),
        *((code, value, target, None) for code, value, target in tests),
        (_JUMP_EQUAL, calls.clone, None, "allow"),
        (_LOAD, _FIRST_ARGUMENT, None, None),
        (_JUMP_ANY_BIT, _CLONE_THREAD, "allow", "again"),
    ]
    ends = {
        "allow": _ALLOW,
        "deny": _ERRNO | errno.EPERM,
        "again": _ERRNO | errno.EAGAIN,
        "nosys": _ERRNO | errno.ENOSYS,
        "kill": _KILL,
    }
    place = {name: len(body) + index for index, name in enumerate(ends)}

    def offset(here: int, target: str | None) -> int:
        return 0 if target is None else place[target] - here - 1

    program = [
        struct.pack("=HBBI", code, offset(here, yes), offset(here, no), value)
        for here, (code, value, yes, no) in enumerate(body)
    ]
    program += [struct.pack("=HBBI", _RETURN, 0, 0, value) for value in ends.values()]
    return b"".join(program)
