"""A seccomp filter for sandboxed Python: one process, no sockets, no reach to others, no way to administer the kernel.

The filter is a classic BPF program in the kernel's ``struct sock_filter`` layout (``<linux/filter.h>``), over
``struct seccomp_data`` (``<linux/seccomp.h>``). Namespaces hide files and the network; the filter adds what they do
not give: a bound on processes that also holds for root, memory that no limit counts, and a smaller kernel surface.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass

_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT, _RETURN, _AND = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24  # in struct seccomp_data, little-endian
_CLONE_THREAD, _CLONE_FILES = 0x00010000, 0x00000400
_X32 = 0x40000000  # x86-64's second set of system calls
# A pair of datagram sockets can send to any Unix socket that has a path; another family may load a module.
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPE = 1, 1, 0xF
# F_SETOWN, F_SETSIG and F_SETOWN_EX of fcntl, FIOSETOWN and SIOCSPGRP of ioctl: the kernel then signals others for us.
# F_SETLEASE, which has others wait for files that can be read, and F_NOTIFY; FS_IOC_SETFLAGS in its two sizes,
# FS_IOC_SETVERSION and FS_IOC_FSSETXATTR, which change files that can be read if they are the user's own.
_REFUSED = {
    "fcntl": (8, 10, 15, 1024, 1026),
    "ioctl": (0x8901, 0x8902, 0x40086602, 0x40046602, 0x40087602, 0x401C5820),
}
_PR_SET_DUMPABLE = 4  # after it, the one who watches the scratch folder sees no open files
OWN_PID = 0x7FFFFFF1
"""Stands in a filter for the process's own id, which is known only where the filter is installed."""


@dataclass(frozen=True, slots=True)
class _Calls:
    audit: int
    clone: int
    prlimit: int
    socketpair: int
    fcntl: int
    ioctl: int
    prctl: int
    signals: tuple[int, ...]  # their first argument is a process
    denied: tuple[int, ...]
    metadata: tuple[int, ...]  # what changes files by their names, whoever may read them, or fills a disk at once
    x32: bool


# pidfd_send_signal (424), io_uring (425-427), open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, pidfd_open
# (428-434), close_range (436, which can give a thread open files of its own), pidfd_getfd (438), process_madvise
# (440), mount_setattr, quotactl_fd, the three of Landlock, memfd_secret, process_mrelease (442-448): the same number on
# both.
_COMMON = (*range(424, 435), 436, 438, 440, *range(442, 449))
# In this order: fork, vfork, socket, ptrace, process_vm_readv and _writev, unshare, setns, mount, umount2, pivot_root,
# chroot, bpf, perf_event_open, userfaultfd, add_key, request_key, keyctl, kexec_load, init_module, finit_module,
# delete_module, reboot, swapon, open_by_handle_at, quotactl, acct, settimeofday, clock_settime, sethostname, syslog;
# mknod, mknodat; what belongs to other processes: setpriority, sched_setparam, sched_setscheduler, sched_setaffinity,
# sched_setattr, ioprio_set, migrate_pages, move_pages, kcmp; memory beside the address space: memfd_create, shmget,
# shmat, semget, msgget, mq_open; ioperm, iopl, modify_ldt, kexec_file_load, fanotify_init, name_to_handle_at,
# clock_adjtime, adjtimex, swapoff, setdomainname, vhangup; memory of the kernel that no limit counts: setxattr,
# lsetxattr, fsetxattr, setxattrat, io_setup, timer_create, inotify_init, inotify_init1; sendmsg and sendmmsg, in whose
# messages open files hide.
_X86_64 = (
    *(57, 58, 41, 101, 310, 311, 272, 308, 165, 166, 155, 161, 321, 298, 323, 248, 249, 250, 246, 175, 313),
    *(176, 169, 167, 304, 179, 163, 164, 227, 170, 103),
    *(133, 259, 141, 142, 144, 203, 314, 251, 256, 279, 312, 319, 29, 30, 64, 68, 240),
    *(173, 172, 154, 320, 300, 303, 305, 159, 168, 171, 153),
    *(188, 189, 190, 463, 206, 222, 253, 294, 46, 307),
)
_AARCH64 = (
    *(198, 117, 270, 271, 97, 268, 40, 39, 41, 51, 280, 241, 282, 217, 218, 219, 104, 105, 273, 106, 142, 224),
    *(265, 60, 89, 170, 112, 161, 116),
    *(33, 140, 118, 119, 122, 274, 30, 238, 239, 272, 279, 194, 196, 190, 186, 180),
    *(294, 262, 264, 266, 171, 225, 162, 58),
    *(5, 6, 7, 463, 0, 107, 26, 211, 269),
)
# chmod, fchmod, fchmodat, fchmodat2, chown, fchown, lchown, fchownat, utime, utimes, futimesat, utimensat, removexattr,
# lremovexattr, fremovexattr, removexattrat, file_setattr, as far as the machine has them; fallocate.
_X86_64_METADATA = (90, 91, 268, 452, 92, 93, 94, 260, 132, 235, 261, 280, 197, 198, 199, 466, 469, 285)
_AARCH64_METADATA = (53, 52, 452, 55, 54, 88, 14, 15, 16, 466, 469, 47)
# kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo; the second one takes a thread, and so is never allowed.
_MACHINES = {
    "x86_64": _Calls(
        audit=0xC000003E,
        clone=56,
        prlimit=302,
        socketpair=53,
        fcntl=72,
        ioctl=16,
        prctl=157,
        signals=(62, 200, 234, 129, 297),
        denied=_X86_64 + _COMMON,
        metadata=_X86_64_METADATA,
        x32=True,
    ),
    "aarch64": _Calls(
        audit=0xC00000B7,
        clone=220,
        prlimit=261,
        socketpair=199,
        fcntl=25,
        ioctl=29,
        prctl=167,
        signals=(129, 130, 131, 138, 240),
        denied=_AARCH64 + _COMMON,
        metadata=_AARCH64_METADATA,
        x32=False,
    ),
}
_CLONE3 = 435  # its flags are behind a pointer that a filter cannot read; glibc falls back to clone on ENOSYS


def filter_program(machine: str | None = None, *, shared: bool = False) -> bytes | None:
    """The compiled filter, ready for ``bwrap --seccomp`` or ``prctl``.

    Args:
        machine: As ``platform.machine()`` names it; this machine if None.
        shared: Whether the process shares files and process ids with others: it may then change no file's mode, times
            or attributes, allocate no space that it does not write, hide nothing from who watches it, and signal itself
            alone. `OWN_PID` stands for its id in the program.

    Returns:
        The program's bytes (8 per instruction), or None on a machine whose system calls are not listed here.
    """
    calls = _MACHINES.get(machine or platform.machine())
    if calls is None:
        return None
    tests: list[tuple[int, int, str]] = [(_JUMP_GREATER_EQUAL, _X32, "kill")] if calls.x32 else []
    tests.append((_JUMP_EQUAL, _CLONE3, "nosys"))
    tests += [(_JUMP_EQUAL, number, "deny") for number in calls.denied]
    judged = {"limit": calls.prlimit, "clone": calls.clone, "pair": calls.socketpair}
    judged |= {"fcntl": calls.fcntl, "ioctl": calls.ioctl}
    tests += [(_JUMP_EQUAL, number, block) for block, number in judged.items()]
    if shared:
        tests += [(_JUMP_EQUAL, number, "deny") for number in calls.metadata]
        tests += [(_JUMP_EQUAL, number, "signal") for number in calls.signals]
        tests.append((_JUMP_EQUAL, calls.prctl, "prctl"))
    blocks: dict[str, list[tuple[int, int, str | None, str | None]]] = {
        "start": [
            (_LOAD, _ARCHITECTURE, None, None),
            (_JUMP_EQUAL, calls.audit, None, "kill"),
            (_LOAD, _NUMBER, None, None),
            *((code, value, target, None) for code, value, target in tests),
            (_RETURN, _ALLOW, None, None),
        ],
        "clone": [
            (_LOAD, _FIRST_ARGUMENT, None, None),
            (_JUMP_ANY_BIT, _CLONE_THREAD, None, "again"),
            (_JUMP_ANY_BIT, _CLONE_FILES, "allow", "again"),
        ],
        "limit": [(_LOAD, _FIRST_ARGUMENT, None, None), (_JUMP_EQUAL, 0, "allow", "deny")],
        "pair": [
            (_LOAD, _FIRST_ARGUMENT, None, None),
            (_JUMP_EQUAL, _AF_UNIX, None, "deny"),
            (_LOAD, _SECOND_ARGUMENT, None, None),
            (_AND, _SOCK_TYPE, None, None),
            (_JUMP_EQUAL, _SOCK_STREAM, "allow", "deny"),
        ],
        **{
            name: [
                (_LOAD, _SECOND_ARGUMENT, None, None),
                *((_JUMP_EQUAL, command, "deny", None) for command in commands),
                (_RETURN, _ALLOW, None, None),
            ]
            for name, commands in _REFUSED.items()
        },
        "prctl": [
            (_LOAD, _FIRST_ARGUMENT, None, None),
            (_JUMP_EQUAL, _PR_SET_DUMPABLE, "deny", "allow"),
        ],
        "signal": [(_LOAD, _FIRST_ARGUMENT, None, None), (_JUMP_EQUAL, OWN_PID, "allow", "deny")] if shared else [],
        "allow": [(_RETURN, _ALLOW, None, None)],
        "deny": [(_RETURN, _ERRNO | errno.EPERM, None, None)],
        "again": [(_RETURN, _ERRNO | errno.EAGAIN, None, None)],
        "nosys": [(_RETURN, _ERRNO | errno.ENOSYS, None, None)],
        "kill": [(_RETURN, _KILL, None, None)],
    }
    return _assembled(blocks)


def _assembled(blocks: dict[str, list[tuple[int, int, str | None, str | None]]]) -> bytes:
    """Blocks one after the other, jumps to names as distances; no name is the next instruction."""
    place, at = {}, 0
    for name, block in blocks.items():
        place[name] = at
        at += len(block)
    steps = [step for block in blocks.values() for step in block]

    def distance(here: int, target: str | None) -> int:
        return 0 if target is None else place[target] - here - 1

    return b"".join(
        struct.pack("=HBBI", code, distance(here, yes), distance(here, no), value)
        for here, (code, value, yes, no) in enumerate(steps)
    )
