"""What a plugin's process may not do: outlive the engine, reach a network, eat all memory.

Called once, before NumPy is imported: a user namespace can only be entered by a process that
has a single thread. Standard library only, so that any interpreter can run it (E7).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import select
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# linux/sched.h and linux/prctl.h
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_MB = 1 << 20
#: RLIMIT_DATA counts address space (stacks, arenas), not use: leave room above the limit,
#: which the engine holds exactly by watching resident memory.
_ADDRESS_ROOM_MB = 1024


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """What the kernel allowed; `plugins check` says it."""

    #: No network interface but a dead loopback.
    network: bool
    #: The kernel refuses memory beyond the limit (otherwise the engine only watches).
    memory: bool


def isolate(*, lifeline: int, memory_mb: int) -> Isolation:
    """Take this process's freedoms away, as far as the kernel allows.

    Parameters
    ----------
    lifeline : file descriptor
        Read end of a pipe that the engine never writes to; it closes when the engine dies.
    memory_mb : int
        Memory limit in MB (2^20 bytes); 0: set none (a CUDA driver maps far more than it uses).
    """
    die_with(lifeline)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the images
    os.umask(0o077)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    network = _leave_network(libc)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return Isolation(network=network, memory=_limit_memory(memory_mb))


def die_with(lifeline: int) -> None:
    """Have the kernel kill this whole process group once the other end of `lifeline` closes.

    A thread that waits for the end would not run while native code holds the interpreter lock,
    and PR_SET_PDEATHSIG follows the *thread* that started us. The kernel's own signal on the
    hang-up of a pipe (F_SETSIG, fcntl(2)) needs neither.
    """
    os.set_inheritable(lifeline, False)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
    hang_up = select.poll()
    hang_up.register(lifeline, 0)
    if hang_up.poll(0):  # the engine died before the signal was armed
        os._exit(1)


def _leave_network(libc: ctypes.CDLL) -> bool:
    user, group = os.geteuid(), os.getegid()
    # With a user namespace of its own even root cannot go back into the host's network.
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        with suppress(OSError):
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        return True
    return bool(libc.unshare(_CLONE_NEWNET) == 0)


def _limit_memory(memory_mb: int) -> bool:
    if memory_mb <= 0:
        return False
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = (memory_mb + _ADDRESS_ROOM_MB) * _MB
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    except (OSError, ValueError):
        return False
    return True
