"""Whether a destination is there and lets us in, without sending anything of a patient."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pynetdicom import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.delivery.association import remote_of
from node.dicom.network import associate
from node.errors import DeliveryFailed, SettingsError
from node.settings import DestinationSettings

T = TypeVar("T")


def echo_destination(settings: DestinationSettings, own_ae: str) -> str:
    """Return what the destination answered, in a few words.

    Raises
    ------
    DeliveryFailed
        If it does not answer or does not let us in.
    """
    if settings.kind == "dicom":
        return naming_the_place(settings, own_ae, lambda: _echo_dicom(settings, own_ae))
    if settings.kind == "orthanc":
        return naming_the_place(settings, own_ae, lambda: _echo_orthanc(settings))
    return _echo_folder(settings)


def naming_the_place(settings: DestinationSettings, own_ae: str, ask: Callable[[], T]) -> T:
    """Say with a failure which destination it is, where, and what to do."""
    try:
        return ask()
    except DeliveryFailed as error:
        place = settings.url or f"{settings.ae_title} at {settings.host}:{settings.port}"
        raise DeliveryFailed(
            f"destination {settings.name} ({place}): {error}{_cause(settings, error)}; is it "
            f"running, are address and port right, does a firewall stand between, and does it "
            f"know our AE title {settings.calling_ae or own_ae}?",
            retry=error.retry,
            code=error.code,
        ) from error


def _cause(settings: DestinationSettings, error: DeliveryFailed) -> str:
    """Return the system's word for why nobody can be reached, which the library drops."""
    if settings.kind != "dicom" or error.code != "PEER_UNREACHABLE":
        return ""
    try:
        socket.create_connection((settings.host, settings.port), settings.timeout_s).close()
    except OSError as fault:
        return f" ({fault.strerror or fault})"
    return " (the port is open, but no DICOM answer came)"


def _echo_dicom(settings: DestinationSettings, own_ae: str) -> str:
    with associate(remote_of(settings, own_ae), [build_context(Verification)]) as assoc:
        answer = assoc.send_c_echo()
    status = getattr(answer, "Status", None)
    if status != 0x0000:
        said = "nothing" if status is None else f"{status:04X}"
        raise DeliveryFailed(f"C-ECHO was answered {said}", retry=True, code="ECHO_FAILED")
    return f"C-ECHO 0000 from {settings.ae_title} at {settings.host}:{settings.port}"


def _echo_orthanc(settings: DestinationSettings) -> str:
    from node.delivery.orthanc import system_of

    return f"Orthanc {system_of(settings)} at {settings.url}"


def _echo_folder(settings: DestinationSettings) -> str:
    if settings.path is None:
        raise SettingsError(f"destination {settings.name} has no `path`")
    probe = Path(settings.path) / f".sentinel-{uuid.uuid4().hex}"
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.close(descriptor)
        probe.unlink()
    except OSError as error:
        raise DeliveryFailed(
            f"folder {settings.path}: {error.strerror}; make it, or give the node's user the right"
            " to write there",
            retry=True,
            code="FOLDER_UNAVAILABLE",
        ) from error
    return f"folder {settings.path} can be written"
