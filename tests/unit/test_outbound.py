"""The sender's own way past the library: bytes, limits of the peer, and peers that go away."""

import hashlib
import socket
import threading

import pytest
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from node.dicom.network import RemoteAE, associate, read_ahead, requested_contexts, send_file
from node.dicom.outbound import _data_pdus, _send
from node.dicom.part10 import read_part10
from node.errors import DeliveryFailed
from tests.make import ct_series, write_series

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


class Peer:
    """The library as a receiver: what it understands, others do too."""

    def __init__(self, max_pdu=16382, status=0x0000, before=None):
        self.digests, self.status, self.before = [], status, before
        self.sizes = []
        ae = AE(ae_title="PEER")
        ae.maximum_pdu_size = max_pdu
        ae.supported_contexts = [build_context(CT, [EXPLICIT])]
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_DATA_RECV, self._seen)]
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = self._server.socket.getsockname()[1]

    def _seen(self, event):
        self.sizes.append(len(event.data))

    def _store(self, event):
        if self.before:
            self.before(event)
        self.digests.append(hashlib.sha256(event.request.DataSet.getvalue()).hexdigest())
        return self.status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()

    def remote(self, timeout_s=5):
        return RemoteAE(
            host="127.0.0.1",
            port=self.port,
            ae_title="PEER",
            calling_ae="US",
            timeout_s=timeout_s,
        )


def digest(path):
    return hashlib.sha256(path.read_bytes()[read_part10(path).dataset_offset :]).hexdigest()


@pytest.mark.parametrize("max_pdu", [0, 1024, 16382, 131072])
@pytest.mark.parametrize("side", [3, 256, 900])
def test_the_very_bytes_arrive_in_pdus_that_the_peer_takes(tmp_path, max_pdu, side):
    paths = write_series(tmp_path, ct_series((2, side, side)))
    contexts = requested_contexts([(CT, EXPLICIT)])
    with Peer(max_pdu) as peer:
        with associate(peer.remote(), contexts) as assoc:
            read_ahead(paths[1])
            for number, path in enumerate(paths, start=1):
                assert send_file(assoc, path, message_id=number) == 0x0000
        assert peer.digests == [digest(path) for path in paths]
        assert max(peer.sizes[1:]) <= (max_pdu + 6 if max_pdu else 131072 + 12)


def test_the_peers_status_is_the_answer(tmp_path):
    (path, _) = write_series(tmp_path, ct_series((2, 8, 8)))
    with (
        Peer(status=0xA700) as peer,
        associate(peer.remote(), requested_contexts([(CT, EXPLICIT)])) as assoc,
    ):
        assert send_file(assoc, path) == 0xA700
        assert assoc.is_established


def test_a_peer_that_aborts_instead_of_answering_is_said_at_once(tmp_path):
    (path, _) = write_series(tmp_path, ct_series((2, 8, 8)))
    with (
        Peer(before=lambda event: event.assoc.abort()) as peer,
        pytest.raises(DeliveryFailed, match="broke while sending") as raised,
        associate(peer.remote(timeout_s=30), requested_contexts([(CT, EXPLICIT)])) as assoc,
    ):
        send_file(assoc, path)
    assert raised.value.retry


def test_a_peer_that_takes_no_more_is_given_up():
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(TimeoutError, match="takes no more"):
        _send(ours, [bytes(1 << 24)], 0.05)


def test_all_buffers_are_sent_whatever_the_socket_takes_at_once():
    ours, theirs = socket.socketpair()
    buffers = [bytes([number]) * (number * 3001) for number in range(100)]
    received = bytearray()

    def read():
        while piece := theirs.recv(10_000):
            received.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    with ours:
        _send(ours, buffers, 5)
        ours.shutdown(socket.SHUT_WR)
        reader.join()
    theirs.close()
    assert bytes(received) == b"".join(buffers)


def test_a_file_that_became_shorter_is_not_sent_as_if_it_were_whole(tmp_path):
    with pytest.raises(DeliveryFailed, match="shorter"):
        list(_data_pdus(iter([memoryview(b"abcd")]), 8, 1, 4))


def test_an_empty_data_set_is_one_empty_last_fragment():
    assert list(_data_pdus(iter(()), 0, 1, 4)) == [[b"\4\0\0\0\0\6\0\0\0\2\1\2"]]
