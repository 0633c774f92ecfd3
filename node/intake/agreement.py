"""Whether an object is the one that its request announced (S11)."""

from __future__ import annotations

from dataclasses import dataclass

from node.dicom.scan import Header
from node.dicom.uids import valid_uid
from node.errors import InstanceRejected

#: Statuses of PS3.4 B.2.3.
DATA_SET_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True, kw_only=True)
class StoreCommand:
    """What the C-STORE request says about the object that follows."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def check_against_command(header: Header, command: StoreCommand) -> None:
    """Refuse what has no usable UIDs, or other ones than the request names.

    Raises
    ------
    InstanceRejected
        C000 or A900.
    """
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        if not valid_uid(header.uid(keyword)):
            why = f"; {header.fault.sentence}" if header.fault else ""
            raise InstanceRejected(
                f"no usable {keyword}{why}", dicom_status=CANNOT_UNDERSTAND, code="NO_USABLE_UID"
            )
    for keyword, expected in (
        ("SOPClassUID", command.sop_class_uid),
        ("SOPInstanceUID", command.sop_instance_uid),
    ):
        if header.uid(keyword) != expected:
            raise InstanceRejected(
                f"{keyword} differs between data set and request",
                dicom_status=DATA_SET_MISMATCH,
                code="UID_MISMATCH",
            )
