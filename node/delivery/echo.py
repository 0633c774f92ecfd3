"""Whether a destination is there and lets us in, without sending anything of a patient."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from pynetdicom import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.dicom.network import RemoteAE, associate
from node.errors import DeliveryFailed, SettingsError
from node.settings import DestinationSettings


def echo_destination(settings: DestinationSettings, own_ae: str) -> str:
    """Return what the destination answered, in a few words.

    Raises
    ------
    DeliveryFailed
        If it does not answer or does not let us in.
    """
    if settings.kind == "dicom":
        return _echo_dicom(settings, own_ae)
    if settings.kind == "orthanc":
        return _echo_orthanc(settings)
    return _echo_folder(settings)


def _echo_dicom(settings: DestinationSettings, own_ae: str) -> str:
    remote = RemoteAE(
        host=settings.host,
        port=settings.port,
        ae_title=settings.ae_title,
        calling_ae=settings.calling_ae or own_ae,
        timeout_s=settings.timeout_s,
    )
    with associate(remote, [build_context(Verification)]) as assoc:
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
