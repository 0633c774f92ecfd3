"""Orthanc with DICOMweb and an nginx that serves the viewers: one origin, loopback only."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
import pytest

from tests.make import REPOSITORY, free_port
from tests.peers import Orthanc, orthanc, wait_until

if TYPE_CHECKING:  # collected by `make test` too, which installs no browser
    from playwright.sync_api import Browser, Page, Playwright

CHROMIUM = Path("/usr/bin/chromium")
NGINX = Path("/usr/sbin/nginx")
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
VIEWERS = Path(os.environ.get("SENTINEL_VIEWERS_DIR", REPOSITORY / ".venv" / "viewers"))

#: WebGL by SwiftShader; nothing of the browser's own talks to the network.
CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # Loopback is never asked of a proxy, and everything else has none that answers.
    "--proxy-server=127.0.0.1:9",
    "--proxy-bypass-list=127.0.0.1",
)

#: OHIF's configuration of docs/viewers.md: one DICOMweb source, same origin.
APP_CONFIG = """
window.config = {
  routerBasename: null,
  extensions: [],
  modes: [],
  customizationService: {},
  showStudyList: true,
  maxNumberOfWebWorkers: 2,
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: false,
  showLoadingIndicator: true,
  strictZSpacingForVolumeViewport: true,
  investigationalUseDialog: { option: 'never' },
  maxNumRequests: { interaction: 20, thumbnail: 5, prefetch: 10 },
  showErrorDetails: 'always',
  defaultDataSourceName: 'orthanc',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
    sourceName: 'orthanc',
    configuration: {
      friendlyName: 'Orthanc', name: 'orthanc',
      qidoRoot: '/dicom-web', wadoRoot: '/dicom-web', wadoUriRoot: '/wado',
      qidoSupportsIncludeField: false,
      supportsReject: false, dicomUploadEnabled: false,
      imageRendering: 'wadors', thumbnailRendering: 'wadors',
      enableStudyLazyLoad: true, supportsFuzzyMatching: false, supportsWildcard: true,
      omitQuotationForMultipartRequest: true,
      bulkDataURI: { enabled: true },
    },
  }],
};
"""

NGINX_CONF = """
{user}
daemon off; master_process off;
pid {run}/nginx.pid; error_log {run}/nginx-error.log;
events {{ worker_connections 256; }}
http {{
  include /etc/nginx/mime.types; types {{ text/javascript mjs; }}
  access_log {run}/nginx-access.log; client_max_body_size 0;
  client_body_temp_path {run}/b; proxy_temp_path {run}/p; fastcgi_temp_path {run}/f;
  uwsgi_temp_path {run}/u; scgi_temp_path {run}/s;
  server {{
    listen 127.0.0.1:{port};
    root {viewers}/ohif;
    # The workers of volume rendering need a cross-origin isolated page.
    add_header Cross-Origin-Opener-Policy same-origin;
    add_header Cross-Origin-Embedder-Policy require-corp;
    location = /app-config.js {{ alias {run}/app-config.js; add_header Cache-Control no-store; }}
    location /dicom-web/ {{
      proxy_pass {orthanc}; proxy_http_version 1.1; proxy_set_header Host $http_host;
      proxy_buffering off; proxy_request_buffering off;
    }}
    location /files/ {{ proxy_pass {orthanc}/instances/; }}
    location /lists/ {{ alias {run}/lists/; }}
    location /dwv/ {{ alias {viewers}/dwv/; }}
    location / {{ try_files $uri $uri/ /index.html; }}
  }}
}}
"""


def require_viewers() -> None:
    """Skip, saying why, or fail where viewers are required, unless all of them are there."""
    needed = [CHROMIUM, NGINX, DICOMWEB, VIEWERS / "ohif/index.html", VIEWERS / "dwv/index.html"]
    missing = [str(path) for path in needed if not path.exists()]
    if not missing:
        return
    reason = f"viewers are not installed: {', '.join(missing)} (make test-viewers installs them)"
    print(reason)  # noqa: T201  the reason must be seen even without -rs
    if os.environ.get("SENTINEL_VIEWERS") == "required":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@dataclass
class Bench:
    """A running Orthanc, the address of the viewers, and a browser."""

    pacs: Orthanc
    base: str
    folder: Path
    browser: Browser

    @contextmanager
    def holding(self, paths: Sequence[Path]) -> Iterator[str]:
        """Put one study's files into the archive; yield its Study Instance UID; remove it."""
        self.pacs.upload(paths)
        uid = str(pydicom.dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)
        try:
            yield uid
        finally:
            for study in self.pacs.get("/studies"):
                request = urllib.request.Request(
                    f"{self.pacs.url}/studies/{study}", method="DELETE"
                )
                urllib.request.urlopen(request, timeout=30).close()

    def list_for_dwv(self, images: Sequence[Path], seg: Path | None) -> str:
        """Write the addresses of files for the dwv page; return the list's own address."""
        wanted = {"image": self._addresses(images), "seg": self._addresses([seg] if seg else [])}
        if not wanted["seg"]:
            del wanted["seg"]
        name = f"{len(list((self.folder / 'lists').iterdir()))}.json"
        (self.folder / "lists" / name).write_text(json.dumps(wanted))
        return f"/lists/{name}"

    def _addresses(self, paths: Sequence[Path]) -> list[str]:
        uids = [str(pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID) for p in paths]
        return [f"{self.base}/files/{self.pacs.lookup(uid)[0]}/file" for uid in uids]

    @contextmanager
    def page(self) -> Iterator[Page]:
        """Yield a fresh page; fail at the end if it asked anything but this bench."""
        context = self.browser.new_context(
            viewport={"width": 1100, "height": 760}, device_scale_factor=1
        )
        context.set_default_timeout(240_000)  # a busy machine is no fault of a viewer
        # OHIF's guided tour covers the page and takes every click of a new profile.
        context.add_init_script(
            "try{localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']))}catch(e){}"
        )
        page = context.new_page()
        strange: list[str] = []
        page.on("request", lambda r: None if _is_ours(r.url, self.base) else strange.append(r.url))
        try:
            yield page
        finally:
            context.close()
        assert not strange, f"the page asked others than the bench: {sorted(set(strange))}"


def _is_ours(url: str, base: str) -> bool:
    return url.startswith((f"{base}/", "data:", "blob:"))


@contextmanager
def running_bench(folder: Path, playwright: Playwright) -> Iterator[Bench]:
    """Run everything in `folder`; each process is ended by its own handle."""
    require_viewers()
    port = free_port()
    plugin = {"Enable": True, "Root": "/dicom-web/", "EnableWado": False, "Ssl": False}
    options = {
        "Plugins": [str(DICOMWEB)],
        "DicomWeb": plugin | {"Host": f"127.0.0.1:{port}"},
        "StableAge": 60,
    }
    with (
        orthanc(folder / "pacs", **options) as pacs,  # type: ignore[arg-type]
        _nginx(folder / "web", port, pacs),
    ):
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), headless=True, args=list(CHROMIUM_OPTIONS)
        )
        try:
            yield Bench(pacs, f"http://127.0.0.1:{port}", folder / "web", browser)
        finally:
            browser.close()


@contextmanager
def _nginx(run: Path, port: int, pacs: Orthanc) -> Iterator[None]:
    (run / "lists").mkdir(parents=True)
    (run / "app-config.js").write_text(APP_CONFIG)
    user = "user root;" if os.geteuid() == 0 else ""
    values = {"run": run, "port": port, "viewers": VIEWERS, "orthanc": pacs.url, "user": user}
    (run / "nginx.conf").write_text(NGINX_CONF.format(**values))
    with (run / "nginx.out").open("wb") as out:
        process = subprocess.Popen(
            [NGINX, "-p", run, "-c", run / "nginx.conf", "-e", run / "nginx-error.log"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}/dicom-web/studies"), timeout_s=20,
                   what=f"nginx to answer; see {run}")  # fmt: skip
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True
