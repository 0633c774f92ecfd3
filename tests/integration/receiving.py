"""A running receiver for tests, and a sender of raw bytes that parses nothing."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import build_context

from node.dicom.network import keep_rejection
from node.dicom.outbound import park_reactor
from node.intake.scp import Receiver
from node.settings import ReceiveSettings, Settings
from node.storage import tables
from node.storage.database import Database
from node.storage.files import Files

EXPLICIT = "1.2.840.10008.1.2.1"
#: Stands for the status of an object whose presentation context was refused.
NO_CONTEXT = -1


@dataclass(kw_only=True)
class Running:
    """A receiver with its rows and files."""

    receiver: Receiver
    db: Database
    files: Files

    @property
    def port(self) -> int:
        return self.receiver.port


@contextmanager
def receiving(folder: Path, listener: socket.socket | None = None, **settings: Any) -> Iterator:
    """Run a receiver in this process, promiscuous unless told otherwise."""
    limits = settings.pop("receive", ReceiveSettings(min_free_mb=1))
    values = {"data_dir": folder / "data", "port": 0, "promiscuous": True, "receive": limits}
    node = Settings(**{**values, **settings})
    node.data_dir.mkdir(exist_ok=True)
    db = Database(node.resolved_database_url)
    tables.metadata.create_all(db.engine)
    files = Files(node.data_dir)
    receiver = Receiver(node, db, files, listener)
    receiver.start()
    try:
        yield Running(receiver=receiver, db=db, files=files)
    finally:
        receiver.stop(drain_s=0.5)
        db.close()


@dataclass(frozen=True, kw_only=True)
class RawObject:
    """An object as bytes, with what a request would say of it."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset: bytes


def raw_object(path: Path) -> RawObject:
    """Split a file without understanding it; files without meta group are sent whole."""
    content = path.read_bytes()
    if content[128:132] != b"DICM":
        return RawObject(
            sop_class_uid="1.2.840.10008.5.1.4.1.1.7",
            sop_instance_uid="1.2.3.4",
            transfer_syntax_uid="1.2.840.10008.1.2",
            dataset=content,
        )
    position, values = 132, {}
    while content[position : position + 2] == b"\2\0":
        _, number, vr, length = struct.unpack_from("<HH2sH", content, position)
        position += 8
        if vr in (b"OB", b"UN", b"OW"):
            (length,) = struct.unpack_from("<L", content, position)
            position += 4
        values[number] = content[position : position + length].decode("latin-1").strip(" \0")
        position += length
    return RawObject(
        sop_class_uid=values.get(2) or "1.2.840.10008.5.1.4.1.1.7",
        sop_instance_uid=values.get(3) or "1.2.3.4",
        transfer_syntax_uid=values.get(0x10) or EXPLICIT,
        dataset=content[position:],
    )


@contextmanager
def calling(
    port: int,
    pairs: list[tuple[str, str]],
    *,
    calling_ae: str = "SCANNER",
    called_ae: str = "NODE",
    asks: bool = True,
    rejections: list | None = None,
) -> Iterator:
    """Associate with one context per pair of SOP class and transfer syntax.

    One that `asks` nothing notices by itself when the other side ends the association. PDUs of a
    rejection go to `rejections`.
    """
    ae = AE(ae_title=calling_ae)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 15
    contexts = [build_context(abstract, [syntax]) for abstract, syntax in dict.fromkeys(pairs)]
    assoc = ae.associate(
        "127.0.0.1",
        port,
        contexts=contexts,
        ae_title=called_ae,
        evt_handlers=[
            (
                evt.EVT_CONN_OPEN,
                lambda e: e.assoc.dul.socket.socket.setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
                ),
            ),
            (evt.EVT_PDU_RECV, keep_rejection, [[] if rejections is None else rejections]),
        ],
    )
    if asks and assoc.is_established:
        # Else, under load, the library's own thread now and then takes an answer of ours.
        park_reactor(assoc)
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def takes(assoc: Any, item: RawObject) -> bool:
    """Return whether the object's kind and encoding were accepted."""
    return any(
        c.abstract_syntax == item.sop_class_uid and c.transfer_syntax[0] == item.transfer_syntax_uid
        for c in assoc.accepted_contexts
    )


def send_raw(assoc: Any, item: RawObject, message_id: int = 1) -> Any:
    """C-STORE the bytes as they are; return the response."""
    request = C_STORE()
    request.MessageID = message_id
    request.AffectedSOPClassUID = item.sop_class_uid
    request.AffectedSOPInstanceUID = item.sop_instance_uid
    request.Priority = 2
    request.DataSet = BytesIO(item.dataset)
    context = next(
        c
        for c in assoc.accepted_contexts
        if c.abstract_syntax == item.sop_class_uid
        and c.transfer_syntax[0] == item.transfer_syntax_uid
    )
    assoc._reactor_checkpoint.clear()
    assoc.dimse.send_msg(request, context.context_id)
    _, response = assoc.dimse.get_msg(block=True)
    assoc._reactor_checkpoint.set()
    return response


def send_files(port: int, paths: list[Path]) -> dict[Path, tuple[int, str]]:
    """Send files in one association; return status and comment of each."""
    items = [raw_object(path) for path in paths]
    outcome = {}
    pairs = [(item.sop_class_uid, item.transfer_syntax_uid) for item in items]
    with calling(port, pairs) as assoc:
        for number, (path, item) in enumerate(zip(paths, items, strict=True), start=1):
            if takes(assoc, item):
                response = send_raw(assoc, item, number)
                outcome[path] = (response.Status, response.ErrorComment or "")
            else:
                outcome[path] = (NO_CONTEXT, "presentation context refused")
    return outcome
