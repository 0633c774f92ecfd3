"""Safety rules whose switch is simply off in this step."""

from pynetdicom import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel

from node.dicom.network import acceptable_contexts
from node.results.request import findings_of
from tests.results_case import ball_result, job, request_of, synthetic_headers


def test_s10_a_tracking_uid_is_new_for_each_job():
    requests = [
        request_of(synthetic_headers(), ball_result(), job=job(id=letter * 32)) for letter in "ab"
    ]

    first, second = (findings_of(request) for request in requests)

    assert first[0].tracking_uid != second[0].tracking_uid


def test_s16_storage_commitment_is_not_offered():
    assert acceptable_contexts([build_context(StorageCommitmentPushModel)]) == []
