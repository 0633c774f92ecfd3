"""Bytes of C-STORE messages: ours against the library's, both ways."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF

from node.dicom.wire import (
    HEAD_BYTES,
    StoreRequest,
    data_head,
    fragments,
    parse_store_request,
    store_request,
    store_response,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
REQUEST = StoreRequest(message_id=7, sop_class_uid=CT, sop_instance_uid="1.2.3.45")


def library_command(**more):
    primitive = C_STORE()
    primitive.MessageID = 7
    primitive.AffectedSOPClassUID = CT
    primitive.AffectedSOPInstanceUID = "1.2.3.45"
    primitive.Priority = 0
    primitive.DataSet = BytesIO(b"\0" * 8)
    for name, value in more.items():
        setattr(primitive, name, value)
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    first = next(iter(message.encode_msg(1, 0)))
    return first.presentation_data_value_list[0][1][1:]


def read_by_library(pdu):
    decoded = P_DATA_TF()
    decoded.decode(pdu)
    message = DIMSEMessage()
    message.decode_msg(decoded.to_primitive())
    return message


def test_a_request_of_the_library_is_understood():
    assert parse_store_request(memoryview(library_command())) == REQUEST


def test_a_moved_object_is_understood():
    command = library_command(
        MoveOriginatorApplicationEntityTitle="MOVER", MoveOriginatorMessageID=3
    )
    assert parse_store_request(memoryview(command)) == REQUEST


def test_our_request_is_understood_by_the_library_and_by_us():
    pdu = store_request(5, REQUEST)
    command = read_by_library(pdu).command_set
    assert (command.MessageID, command.CommandField, command.CommandDataSetType) == (7, 1, 1)
    assert (command.AffectedSOPClassUID, command.AffectedSOPInstanceUID) == (CT, "1.2.3.45")
    ((context_id, control, data),) = fragments(memoryview(pdu)[6:])
    assert (context_id, control, parse_store_request(data)) == (5, 3, REQUEST)


@pytest.mark.parametrize(("status", "comment"), [(0, ""), (0xA700, "disk nearly full")])
def test_our_response_is_understood_by_the_library(status, comment):
    message = read_by_library(store_response(5, REQUEST, status, comment))
    command = message.command_set
    assert isinstance(message, C_STORE_RSP | DIMSEMessage)
    assert (command.CommandField, command.MessageIDBeingRespondedTo) == (0x8001, 7)
    assert (command.Status, command.get("ErrorComment", "")) == (status, comment)
    assert (command.AffectedSOPClassUID, command.AffectedSOPInstanceUID) == (CT, "1.2.3.45")


def test_other_requests_are_left_to_the_library():
    command = library_command()
    echo = command.replace(b"\x00\x01\x02\x00\x00\x00\x01\x00", b"\x00\x01\x02\x00\x00\x00\x30\x00")
    assert parse_store_request(memoryview(echo)) is None
    unknown = command + b"\0\0\x55\x55\2\0\0\0\0\0"
    assert parse_store_request(memoryview(unknown)) is None
    no_data = command.replace(
        b"\x00\x08\x02\x00\x00\x00\x01\x00", b"\x00\x08\x02\x00\x00\x00\x01\x01"
    )
    assert parse_store_request(memoryview(no_data)) is None


@given(st.binary(max_size=200), st.integers(0, 130))
def test_no_bytes_break_the_parser(junk, cut):
    command = library_command()
    for content in (junk, command[:cut], command[:cut] + junk):
        if content != command:
            found = parse_store_request(memoryview(content))
            assert found is None or isinstance(found, StoreRequest)


def test_items_of_a_pdu_are_handed_out_in_order():
    first, second = data_head(1, 0, 3) + b"abc", data_head(3, 2, 2) + b"de"
    body = memoryview(first[6:] + second[6:])
    assert [(c, k, bytes(d)) for c, k, d in fragments(body)] == [(1, 0, b"abc"), (3, 2, b"de")]
    assert HEAD_BYTES == 12


@pytest.mark.parametrize("body", [b"\0\0\0", b"\0\0\0\1\1\3", b"\0\0\0\x20\1\3abc"])
def test_items_that_do_not_end_where_they_say_are_an_error(body):
    with pytest.raises(ValueError, match="item"):
        list(fragments(memoryview(body)))
