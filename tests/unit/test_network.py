"""Which kinds of objects and encodings are taken, in which order."""

import pytest
from pynetdicom.presentation import build_context, negotiate_as_acceptor

from node.dicom.network import (
    TRANSFER_SYNTAXES,
    acceptable_contexts,
    is_storage,
    requested_contexts,
)
from node.errors import DeliveryFailed

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
CT = "1.2.840.10008.5.1.4.1.1.2"


def accepted(*syntaxes, abstract=CT):
    proposal = build_context(abstract, list(syntaxes))
    proposal.context_id = 1
    results, _ = negotiate_as_acceptor([proposal], acceptable_contexts([proposal]))
    return results[0]


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((IMPLICIT, EXPLICIT), EXPLICIT),
        ((BIG_ENDIAN, IMPLICIT), IMPLICIT),
        ((JPEG_BASELINE, JPEG_LOSSLESS), JPEG_LOSSLESS),
        ((JPEG_BASELINE, JPEG_LOSSLESS, DEFLATED), DEFLATED),
        ((BIG_ENDIAN, JPEG_BASELINE), JPEG_BASELINE),
        (("1.2.3.4.5", JPEG_BASELINE), JPEG_BASELINE),
        ((BIG_ENDIAN, "1.2.3.4.5"), "1.2.3.4.5"),
        ((BIG_ENDIAN,), BIG_ENDIAN),
    ],
)
def test_s11_we_choose_in_our_order_whatever_the_peer_prefers(offered, chosen):
    context = accepted(*offered)
    assert context.result == 0
    assert context.transfer_syntax == [chosen]


def test_s11_every_known_transfer_syntax_is_taken():
    assert TRANSFER_SYNTAXES[:2] == (EXPLICIT, IMPLICIT)
    assert TRANSFER_SYNTAXES[-1] == BIG_ENDIAN
    assert len(set(TRANSFER_SYNTAXES)) == len(TRANSFER_SYNTAXES)
    for syntax in TRANSFER_SYNTAXES:
        assert accepted(syntax).result == 0


@pytest.mark.parametrize(
    "abstract",
    [
        CT,
        "1.2.840.10008.5.1.4.1.1.66.7",  # label map segmentation
        "1.2.840.10008.5.1.4.1.1.88.34",
        "1.2.840.10008.5.1.4.1.1.9999",  # of a standard younger than this program
        "1.2.840.113619.4.30",  # private, GE
        "1.3.12.2.1107.5.9.1",  # private, Siemens
    ],
)
def test_s11_standard_future_and_private_objects_are_storable(abstract):
    assert is_storage(abstract)
    assert accepted(IMPLICIT, abstract=abstract).result == 0


@pytest.mark.parametrize(
    "abstract", ["1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.20.1", "1.2.840.10008.5.1.4.31"]
)
def test_services_we_do_not_offer_are_refused(abstract):
    assert accepted(IMPLICIT, abstract=abstract).result == 3


def test_only_what_will_be_sent_is_requested():
    contexts = requested_contexts([(CT, EXPLICIT), (CT, EXPLICIT), (CT, JPEG_LOSSLESS)])
    assert [(c.abstract_syntax, c.transfer_syntax) for c in contexts] == [
        (CT, [EXPLICIT]),
        (CT, [JPEG_LOSSLESS]),
    ]


def test_more_kinds_than_an_association_carries_are_refused():
    with pytest.raises(DeliveryFailed, match="129 kinds") as raised:
        requested_contexts((f"1.2.{number}", EXPLICIT) for number in range(129))
    assert not raised.value.retry
