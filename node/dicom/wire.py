"""The few bytes around every stored object, without the library's many objects (PS3.7, PS3.8).

Only the plain case: whatever else a peer sends is for the library. Used on both sides: a
receiver reads requests and writes responses, a sender the other way round.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

#: P-DATA-TF (PS3.8 9.3.5): type, reserved, length, then items: length, context, control.
DATA_PDU: Final = 0x04
_PDU_AND_ITEM: Final = struct.Struct(">BBLLBB")
_ITEM: Final = struct.Struct(">LBB")
#: Bytes before the data in a P-DATA-TF with one item; 6 of them count as its length.
HEAD_BYTES: Final = _PDU_AND_ITEM.size
_ELEMENT: Final = struct.Struct("<HHL")
#: Message control header (PS3.8 E.2).
COMMAND: Final = 1
LAST: Final = 2

_STORE_REQUEST: Final = 0x0001
_STORE_RESPONSE: Final = 0x8001
_NO_DATA_SET: Final = 0x0101
#: What a request may say: length, class, field, message, priority, data set, instance,
#: and who moved it here (PS3.7 9.3.1.1).
_REQUEST_ELEMENTS: Final = frozenset(
    (0x0000, 0x0002, 0x0100, 0x0110, 0x0700, 0x0800, 0x1000, 0x1030, 0x1031)
)


@dataclass(frozen=True, kw_only=True)
class StoreRequest:
    """A C-STORE request whose data set follows."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, kw_only=True)
class StoreAnswer:
    """A C-STORE response."""

    message_id: int
    status: int


def fragments(body: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield context id, control header and data of each item of a P-DATA-TF.

    Raises
    ------
    ValueError
        If an item does not end where it says.
    """
    position = 0
    while position < len(body):
        if position + _ITEM.size > len(body):
            raise ValueError("an item is cut off")
        length, context_id, control = _ITEM.unpack_from(body, position)
        stop = position + 4 + length
        if length < 2 or stop > len(body):
            raise ValueError("an item does not end where it says")
        yield context_id, control, body[position + _ITEM.size : stop]
        position = stop


def data_head(context_id: int, control: int, data_bytes: int) -> bytes:
    """Return what stands before so many bytes of data in a P-DATA-TF of their own."""
    return _PDU_AND_ITEM.pack(DATA_PDU, 0, data_bytes + 6, data_bytes + 2, context_id, control)


def parse_store_request(command: memoryview) -> StoreRequest | None:
    """Return a request; None if it is none, or one that only the library understands.

    Parameters
    ----------
    command : memoryview
        A whole command set, implicit VR little endian (PS3.7 6.3.1).
    """
    values = _elements(command)
    if values is None or not values.keys() <= _REQUEST_ELEMENTS:
        return None
    try:
        field, data_set = _number(values[0x0100]), _number(values[0x0800])
        request = StoreRequest(
            message_id=_number(values[0x0110]),
            sop_class_uid=_uid(values[0x0002]),
            sop_instance_uid=_uid(values[0x1000]),
        )
    except (KeyError, ValueError, struct.error):
        return None
    return request if field == _STORE_REQUEST and data_set != _NO_DATA_SET else None


def parse_store_response(command: memoryview) -> StoreAnswer | None:
    """Return the answer to a C-STORE; None if the command set is none."""
    values = _elements(command)
    try:
        if values is None or _number(values[0x0100]) != _STORE_RESPONSE:
            return None
        if _number(values[0x0800]) != _NO_DATA_SET:
            return None
        return StoreAnswer(message_id=_number(values[0x0120]), status=_number(values[0x0900]))
    except (KeyError, struct.error):
        return None


def store_response(context_id: int, request: StoreRequest, status: int, comment: str) -> bytes:
    """Return a C-STORE response as one P-DATA-TF."""
    command = _command(
        (0x0002, _padded(request.sop_class_uid)),
        (0x0100, struct.pack("<H", _STORE_RESPONSE)),
        (0x0120, struct.pack("<H", request.message_id)),
        (0x0800, struct.pack("<H", _NO_DATA_SET)),
        (0x0900, struct.pack("<H", status)),
        *([(0x0902, _padded(comment, b" "))] if comment else []),
        (0x1000, _padded(request.sop_instance_uid)),
    )
    return data_head(context_id, COMMAND | LAST, len(command)) + command


def store_request(context_id: int, request: StoreRequest) -> bytes:
    """Return a C-STORE request of low priority as one P-DATA-TF; its data set follows."""
    command = _command(
        (0x0002, _padded(request.sop_class_uid)),
        (0x0100, struct.pack("<H", _STORE_REQUEST)),
        (0x0110, struct.pack("<H", request.message_id)),
        (0x0700, struct.pack("<H", 2)),
        (0x0800, struct.pack("<H", 1)),
        (0x1000, _padded(request.sop_instance_uid)),
    )
    return data_head(context_id, COMMAND | LAST, len(command)) + command


def _elements(command: memoryview) -> dict[int, bytes] | None:
    values: dict[int, bytes] = {}
    position = 0
    while position + _ELEMENT.size <= len(command):
        group, element, length = _ELEMENT.unpack_from(command, position)
        position += _ELEMENT.size
        if group or position + length > len(command):
            return None
        values[element] = bytes(command[position : position + length])
        position += length
    return values if position == len(command) else None


def _number(value: bytes) -> int:
    (number,) = struct.unpack("<H", value)
    return int(number)


def _uid(value: bytes) -> str:
    return value.decode("ascii").strip(" \0")


def _padded(value: str, padding: bytes = b"\0") -> bytes:
    encoded = value.encode("ascii", "replace")
    return encoded + padding if len(encoded) % 2 else encoded


def _command(*elements: tuple[int, bytes]) -> bytes:
    body = b"".join(_ELEMENT.pack(0, number, len(value)) + value for number, value in elements)
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<L", len(body)) + body
