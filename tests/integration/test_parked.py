"""Answers to our queries are never taken by the library's own thread (pynetdicom 3.0.4)."""

from __future__ import annotations

import threading
import time

from pydicom import Dataset
from pynetdicom import AE, build_context, evt

from node.dicom.network import RemoteAE, associate

FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def answer(_event):
    found = Dataset()
    found.QueryRetrieveLevel = "STUDY"
    found.PatientID = "TEST"
    yield 0xFF00, found
    yield 0x0000, None


def test_every_query_of_one_association_gets_its_answer_on_a_busy_machine():
    ae = AE()
    ae.add_supported_context(FIND)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, answer)])
    remote = RemoteAE(
        host="127.0.0.1",
        port=server.server_address[1],
        ae_title="ANY",
        calling_ae="NODE",
        timeout_s=5.0,
    )
    stop = threading.Event()
    burners = [threading.Thread(target=burn, args=(stop,), daemon=True) for _ in range(2)]
    for burner in burners:
        burner.start()
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.PatientID = ""
    try:
        with associate(remote, [build_context(FIND)]) as assoc:
            answered = [
                [
                    status.Status
                    for status, _ in assoc.send_c_find(query, FIND)
                    if "Status" in status
                ]
                for _ in range(20)
            ]
        ended = time.monotonic() + 5
        while assoc.is_alive() and time.monotonic() < ended:
            time.sleep(0.01)
    finally:
        stop.set()
        server.shutdown()

    assert answered == [[0xFF00, 0x0000]] * 20
    assert not assoc.is_alive()


def burn(stop):
    while not stop.is_set():
        sum(range(1000))
