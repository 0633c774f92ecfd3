"""The HTTP service: values come in, and nothing else does."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from node import logs
from node.audit import Audit
from node.errors import SettingsError
from node.model import JobState, StudyState
from node.parts import Node
from node.settings import WebSettings
from node.settings_file import parse_settings
from node.storage.clinical_rows import entries_of_study
from node.storage.migrate import migrate
from node.web.server import WebServer
from node.web_access import WebAccess, web_access
from tests.clinical_case import SPECS
from tests.make import ct_series, free_port
from tests.routing_site import RoutingSite, manifest
from tests.site import assert_log_without_patient_data, running_site

TOKEN = "correct horse battery staple"


class Service:
    """A running web server with one routed study."""

    def __init__(self, folder: Path, *, more_s: float = 20, **web: Any):
        self.site = RoutingSite(folder)
        self.site.with_plugin(manifest(clinical=SPECS))
        self.site.settings = replace(
            self.site.settings,
            web=WebSettings(port=free_port(), **web),
            secrets={"TOKEN": TOKEN},
        )
        self.site.route(ct_series((4, 8, 8), PatientAge="060Y"))
        node = Node(
            settings=self.site.settings,
            db=self.site.db,
            files=self.site.files,
            audit=Audit(self.site.settings.data_dir),
            manifests=self.site.manifests,
        )
        self.server = WebServer(node, web_access(self.site.settings), more_s=more_s)
        self.server.start()
        self.path = f"/studies/{self.site.study_uid}/clinical"

    def call(self, method: str, path: str = "", **options: Any) -> httpx.Response:
        scheme = "https" if self.site.settings.web.tls_key else "http"
        url = f"{scheme}://localhost:{self.server.port}{path or self.path}"
        options = {"verify": False, **options}  # else it reads all certificates each time
        return httpx.request(method, url, trust_env=False, timeout=20, **options)

    def post(self, document: object, **options: Any) -> httpx.Response:
        return self.call("POST", json=document, **options)

    def close(self) -> None:
        self.server.stop(drain_s=5)
        self.site.db.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all tests that store nothing."""
    made = Service(tmp_path_factory.mktemp("strict"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    try:
        subprocess.run([*command, *names, *files], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return folder / "cert.pem", folder / "key.pem"


GRADE = {"grade": {"value": "G2", "by": "A. Reader"}}


# --- what it is for --------------------------------------------------------------------------


def test_a_value_that_is_posted_is_stored_and_starts_a_new_run(service: Service) -> None:
    told = service.post({**GRADE, "size": {"value": 2.1, "unit": "cm", "by": "P. Pathologist"}})

    assert told.status_code == 200, told.text
    stored = told.json()["stored"]
    assert stored["size"] | {"at": 0} == {
        "value": 2.1,
        "unit": "cm",
        "by": "P. Pathologist",
        "at": 0,
        "way": "http",
    }
    assert told.json()["again"] is True
    assert service.site.study.state is StudyState.COMPLETE
    service.site.dispatch()
    job = service.site.jobs[-1]
    assert job.state is JobState.SCHEDULED
    assert {one.name: one.value for one in job.clinical} == {"age": 60, "size": 21, "grade": "g2"}


def test_what_was_entered_and_used_is_told(service: Service) -> None:
    service.post(GRADE)
    service.site.dispatch()

    document = service.call("GET").json()

    assert document["values"]["grade"]["by"] == "A. Reader"
    last = document["jobs"][-1]
    assert (last["plugin"], last["state"]) == ("check@1.0.0", "SCHEDULED")
    assert [one["source"] for one in last["values"]] == ["person", "attribute"]


def test_null_takes_a_value_back(service: Service) -> None:
    service.post(GRADE)

    told = service.post({"grade": {"value": None, "by": "A. Reader"}})

    assert told.status_code == 200
    assert service.call("GET").json()["values"] == {}


def test_health_tells_whether_the_rows_answer(service: Service, tmp_path: Path) -> None:
    assert service.call("GET", "/health/live").json() == {"live": True}
    # These rows were made without a migration: no schema that a node may serve.
    assert service.call("GET", "/health/ready").status_code == 503


def test_health_says_what_the_supervisor_says(tmp_path: Path) -> None:
    from node.storage.database import Database
    from node.web.api import _ready

    made = Service(tmp_path)
    url = f"sqlite:///{tmp_path / 'migrated.db'}"
    migrate(url, tmp_path)
    db = Database(url)
    node = Node(
        settings=made.site.settings,
        db=db,
        files=made.site.files,
        audit=Audit(made.site.settings.data_dir),
        manifests={},
    )
    state = made.site.settings.data_dir / "run" / "state.json"
    try:
        assert _ready(node)
        state.parent.mkdir()
        state.write_text('{"ready": false}')
        assert not _ready(node)
    finally:
        db.close()
        made.close()


# --- what it refuses -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "status", "sentence"),
    [
        ({"size": {"value": 300, "unit": "mm", "by": "A"}}, 422, "size = 300 mm: it is out of"),
        ({"size": {"value": 30, "unit": "kg", "by": "A"}}, 422, "its unit must be one of mm"),
        ({"size": {"value": 30, "by": "A"}}, 422, "its unit is missing"),
        ({"size": {"value": "30", "unit": "mm", "by": "A"}}, 422, "write a number without quotes"),
        ({"gradee": {"value": "g1", "by": "A"}}, 422, 'did you mean "grade"'),
        ({"grade": {"value": "g1", "by": ""}}, 422, "say who enters it"),
        ({"grade": {"value": "g1"}}, 400, "grade: by is missing"),
        ({"grade": {"value": "g1", "by": "A", "x": 1}}, 400, "there is no key x"),
        ({"grade": {"value": ["g1"], "by": "A"}}, 400, "value is a number"),
        ({"grade": {"value": "g1", "by": 3}}, 400, "by and unit are texts"),
        ({"grade": "g1"}, 400, "write an object"),
        (GRADE | {"size": {"value": 300, "unit": "mm", "by": "A"}}, 422, "size = 300 mm"),
        ({}, 400, "send 1 to 100 values"),
        ([GRADE], 400, "send 1 to 100 values"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_a_sentence(
    strict: Service, document: object, status: int, sentence: str
) -> None:
    told = strict.post(
        {**GRADE, **document} if isinstance(document, dict) and document else document
    )

    assert (told.status_code, sentence in told.json()["sentence"]) == (status, True), told.text
    assert entries_of_study(strict.site.db, strict.site.study_uid) == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"grade": {"value": NaN, "by": "A"}}',
        b'{"grade": {"value": "g1", "by": "A"}, "grade": {"value": "g2", "by": "A"}}',
        b"[" * 50_000,
        b'{"size": {"value": ' + b"9" * 5000 + b', "unit": "mm", "by": "A"}}',
    ],
)
def test_a_body_that_is_no_plain_json_is_refused(strict: Service, body: bytes) -> None:
    told = strict.call("POST", content=body, headers={"content-type": "application/json"})

    assert told.status_code in (400, 422)
    assert told.json()["sentence"]


@pytest.mark.parametrize(
    "body",
    [
        rb'{"gr\ud800": {"value": "g1", "by": "A"}}',
        rb'{"grade": {"value": "\udfff", "by": "A"}}',
        rb'{"grade": {"value": "g1", "by": "A\ud800"}}',
        rb'{"grade": {"value": "g1", "by": "A", "\ud800": 1}}',
        rb'{"size": {"value": 3, "unit": "\ud800", "by": "A"}}',
    ],
)
def test_half_a_character_is_no_text(strict: Service, body: bytes) -> None:
    told = strict.call("POST", content=body, headers={"content-type": "application/json"})

    assert (told.status_code, told.json()["error"]) == (400, "MALFORMED"), told.text
    assert "half a character" in told.json()["sentence"]


def test_a_body_that_says_it_is_too_large_is_not_waited_for(strict: Service) -> None:
    head = f"POST {strict.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", strict.server.port), timeout=5) as line:
        line.sendall(f"{head}Content-Length: 99999999999\r\n\r\n{{}}".encode())
        told = line.recv(4096)

    assert told.startswith(b"HTTP/1.1 413")


def test_a_large_body_and_another_type_are_refused(strict: Service) -> None:
    large = strict.post({"grade": {"value": "x" * 70_000, "by": "A"}})
    form = strict.call("POST", content=b"{}", headers={"content-type": "text/plain"})

    assert (large.status_code, large.json()["error"]) == (413, "TOO_LARGE")
    assert form.status_code == 415


def test_unknown_studies_addresses_and_methods_are_refused(strict: Service) -> None:
    paths = ["/studies/1.2.3/clinical", "/studies/..%2f/clinical", "/studies/x/clinical"]
    told = [strict.call("POST", path, json=GRADE).status_code for path in paths]

    assert told == [404, 404, 404]
    assert strict.call("GET", "/docs").status_code == 404
    assert strict.call("DELETE").status_code == 405


def test_a_page_in_a_browser_cannot_reach_it_under_another_name(strict: Service) -> None:
    told = strict.post(GRADE, headers={"host": "evil.example:80"})

    assert told.status_code == 421
    assert entries_of_study(strict.site.db, strict.site.study_uid) == ()


def test_a_slow_body_is_given_up(tmp_path: Path) -> None:
    made = Service(tmp_path, timeout_s=0.3)
    try:
        with socket.create_connection(("127.0.0.1", made.server.port), timeout=10) as line:
            head = f"POST {made.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
            line.sendall(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
            answer = b""
            while part := line.recv(4096):
                answer += part
        assert b" 408 " in answer.splitlines()[0]
        assert b"connection: close" in answer.lower()
    finally:
        made.close()


def test_a_connection_without_a_request_is_cut(tmp_path: Path) -> None:
    made = Service(tmp_path, timeout_s=0.2, more_s=0.1)
    try:
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", made.server.port), timeout=10) as line:
            line.sendall(b"GET /health/live HTTP/1.1\r\nHost:")
            with contextlib.suppress(ConnectionResetError):
                assert line.recv(1) == b""
        assert time.monotonic() - start < 9
    finally:
        made.close()


# --- who may call ----------------------------------------------------------------------------


def test_with_tls_and_token_only_the_token_opens(tmp_path: Path, certificate) -> None:
    cert, key = certificate
    made = Service(tmp_path, tls_certificate=cert, tls_key=key, token_env="TOKEN", bind="0.0.0.0")
    trust = ssl.create_default_context(cafile=str(cert))
    try:
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert made.post(GRADE, verify=trust, headers=bearer).status_code == 200
        for wrong in ({}, {"authorization": "Bearer x"}, {"authorization": f"Basic {TOKEN}"}):
            told = made.post(GRADE, verify=trust, headers=wrong)
            assert (told.status_code, told.headers["www-authenticate"]) == (401, "Bearer")
        assert made.call("GET", "/health/live", verify=trust).status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"http://localhost:{made.server.port}/health/live", trust_env=False)
    finally:
        made.close()


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ('port = 8080\nbind = "0.0.0.0"', "can be reached from other computers"),
        ('port = 8080\nbind = "0.0.0.0"\ntoken_env = "T"', "web.tls_certificate, web.tls_key and"),
        (
            'port = 8080\nbind = "::"\ntls_certificate = "c"\ntls_key = "k"',
            "needs web.tls_certificate, web.tls_key and web.token_env",
        ),
        ('port = 8080\nbind = "node.example"', "can be reached from other computers"),
        ('port = 8080\ntls_key = "k"', "belong together"),
        ("port = 11112", "is the DICOM service's"),
        ('bind = "127.0.0.1"\ntoken_env = "T"', "web.port is missing"),
        ("port = 8080\nmax_body_kb = 0", "must be at least 1"),
    ],
)
def test_settings_that_would_open_it_to_others_are_refused(table: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_settings(f'[node]\ndata_dir = "/tmp/x"\n[web]\n{table}\n', Path("/etc"))

    assert sentence in str(refused.value)


def test_it_does_not_start_without_its_token_or_certificate(tmp_path: Path, certificate) -> None:
    cert, _ = certificate
    text = '[node]\ndata_dir = "/tmp/x"\n[web]\nport = 8080\ntoken_env = "T"\n'
    for environ, sentence in (
        ({}, "T (web.token_env) is not set"),
        ({"T": "short"}, "16 or more"),
        ({"T": " " * 20}, "no space at its ends"),
        ({"T": "a-long-enough-token "}, "no space at its ends"),
    ):
        with pytest.raises(SettingsError) as refused:
            web_access(parse_settings(text, tmp_path, environ=environ))
        assert sentence in str(refused.value)
    (tmp_path / "no.pem").write_text("nothing")
    for key in ("none.pem", "no.pem"):
        more = f'{text}tls_certificate = "{cert}"\ntls_key = "{key}"\n'
        with pytest.raises(SettingsError, match="cannot be used"):
            web_access(parse_settings(more, tmp_path, environ={"T": TOKEN}))


def test_a_taken_port_is_refused_with_what_to_do(service: Service) -> None:
    taken = replace(service.site.settings, web=WebSettings(port=service.server.port))
    node = Node(
        settings=taken,
        db=service.site.db,
        files=service.site.files,
        audit=Audit(taken.data_dir),
        manifests={},
    )
    with pytest.raises(SettingsError, match="choose another"):
        WebServer(node, WebAccess(tls=None, token=""))


# --- what it says of anybody -----------------------------------------------------------------


def test_s28_logs_of_requests_hold_no_uid_no_name_and_no_value(tmp_path: Path) -> None:
    stream = io.StringIO()
    logs.configure("INFO", stream=stream)
    try:
        made = Service(tmp_path)
        made.post(GRADE)
        made.post({"size": {"value": 277.25, "unit": "mm", "by": "A. Reader"}})
        made.call("GET", "/studies/1.2.3.4.5/other?name=Doe")
        made.call("POST", content=b"{Doe", headers={"content-type": "application/json"})
        made.close()
    finally:
        logs.configure("ERROR")

    said = stream.getvalue()
    requests = [json.loads(line) for line in said.splitlines() if '"request"' in line]
    assert [one["status"] for one in requests] == [200, 422, 404, 400]
    for word in (made.site.study_uid, "Reader", "277", "Doe", "1.2.3.4.5", "127.0.0.1"):
        assert word not in said, word


# --- beside the other processes ---------------------------------------------------------------


@pytest.mark.slow
def test_the_node_works_without_its_web_process(tmp_path: Path) -> None:
    port = free_port()
    web = f"[web]\nport = {port}\n"
    with socket.create_server(("127.0.0.1", port)), running_site(tmp_path, web) as site:
        site.wait(lambda: site.state()["roles"]["web"]["restarts"], "the web process to end")
        assert site.state()["ready"]
        assert "cannot listen on 127.0.0.1" in site.log.read_text()


@pytest.mark.slow
def test_a_web_process_that_dies_comes_again_and_hurts_nobody(tmp_path: Path) -> None:
    port = free_port()
    with running_site(tmp_path, f"[web]\nport = {port}\n") as site:
        site.wait(lambda: site.state()["roles"]["web"]["ready"], "the web process")
        url = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{url}/health/ready", trust_env=False).json() == {"ready": True}
        assert httpx.get(f"{url}/studies/1.2.3/clinical", trust_env=False).status_code == 404
        receiver, old = site.pid("receiver"), site.pid("web")

        os.kill(old, signal.SIGKILL)

        roles = site.wait(
            lambda: (
                (r := site.state()["roles"])["web"]["pid"] not in (None, old)
                and r["web"]["ready"]
                and r
            ),
            "another web process",
        )
        assert roles["receiver"]["pid"] == receiver
        assert httpx.get(f"{url}/health/live", trust_env=False).json() == {"live": True}
    assert_log_without_patient_data(site)
