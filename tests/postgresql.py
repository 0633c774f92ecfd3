"""A throw-away PostgreSQL on loopback, from Debian's packages (PEERS.md 5)."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.make import free_port
from tests.peers import require_peer

PROGRAMS = Path("/usr/lib/postgresql/15/bin")


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a new server; yield the SQLAlchemy address of an empty database."""
    require_peer("PostgreSQL 15", found=(PROGRAMS / "initdb").exists())
    folder = Path(tempfile.mkdtemp(prefix="sentinel-pg-"))
    user = pwd.getpwnam("postgres").pw_name if os.getuid() == 0 else None  # it refuses root
    if user:
        shutil.chown(folder, user)
    port = free_port()

    def call(program: str, *arguments: str) -> None:
        subprocess.run(
            [str(PROGRAMS / program), "-D", str(folder / "data"), *arguments],
            user=user,
            extra_groups=[] if user else None,
            cwd=folder,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=True,
        )

    options = (
        f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} "
        "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"
    )
    try:
        call("initdb", "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8")
        call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
