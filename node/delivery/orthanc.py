"""An Orthanc as destination, over its REST interface."""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from pyorthanc import Orthanc

from node.delivery.answers import (
    ALREADY_STORED,
    NOT_TRIED,
    SendAnswer,
    Verdict,
    answer_of_failure,
    answer_of_http,
    failure,
)
from node.delivery.destination import OutgoingObject
from node.delivery.proof import Proof, ProofKind, ProofOutcome, compare_files, compare_patients
from node.errors import DeliveryFailed, SettingsError
from node.model import Identity
from node.settings import DestinationSettings

_IDENTITY = {
    "PatientID": "patient_id",
    "IssuerOfPatientID": "issuer_of_patient_id",
    "PatientName": "patient_name",
    "PatientBirthDate": "patient_birth_date",
    "PatientSex": "patient_sex",
    "AccessionNumber": "accession_number",
}


class OrthancDestination:
    """Uploads to `/instances`; proves by downloading again.

    Parameters
    ----------
    settings : DestinationSettings
        With `url`; `username` and `password_env` where it asks for a password.

    Raises
    ------
    SettingsError
        If there is no `url`, or the password's variable is not set.
    """

    def __init__(self, settings: DestinationSettings):
        if not settings.url:
            raise SettingsError(f"destination {settings.name}: kind = 'orthanc' needs url")
        self._settings = settings
        self._password = _password(settings)
        # The system's certificates, a hospital's own authority among them; loading takes 10 ms.
        self._trust = ssl.create_default_context()

    def send(self, items: Sequence[OutgoingObject]) -> Iterator[SendAnswer]:
        """Upload the objects in order; see `Destination.send`."""
        ended = False
        with self._connected() as rest:
            for item in items:
                answer = NOT_TRIED if ended else _upload(rest, item)
                ended = ended or answer.verdict.ends_association
                yield answer

    def prove(self, item: OutgoingObject, expected: Identity) -> Proof:
        """Look it up under its study, download it and compare; see `Destination.prove`."""
        evidence = item.evidence
        with self._connected() as rest:
            filed = _patients(rest, evidence.study_instance_uid)
            if wrong := compare_patients(expected, filed):
                return wrong
            found = _instances(rest, item)
            if not found:
                return Proof(outcome=ProofOutcome.NOT_FOUND)
            content = rest.ask("GET", f"/instances/{found[0]['ID']}/file").content
        if hashlib.sha256(content).hexdigest() == evidence.sha256:
            return Proof(outcome=ProofOutcome.PROVEN, kind=ProofKind.CONTENT)
        return compare_files(item.path, content)

    def identities_of_study(self, study_instance_uid: str) -> tuple[Identity, ...]:
        """Return the patients of all studies of that UID; Orthanc keeps one per patient."""
        with self._connected() as rest:
            return _patients(rest, study_instance_uid)

    def holds(self, item: OutgoingObject) -> bool | None:
        """Look it up by its UIDs."""
        with self._connected() as rest:
            return bool(_instances(rest, item))

    def take_back(self, item: OutgoingObject, sentence: str) -> str:
        """Delete the instance, unless what lies there is not what we sent.

        Raises
        ------
        DeliveryFailed
            CONTENT_DIFFERS if it is another object; it stays.
        """
        with self._connected() as rest:
            found = _instances(rest, item)
            for one in found:
                content = rest.ask("GET", f"/instances/{one['ID']}/file").content
                same = hashlib.sha256(content).hexdigest() == item.evidence.sha256
                if not same and compare_files(item.path, content).code == "CONTENT_DIFFERS":
                    raise DeliveryFailed(
                        "what lies there under its UID is not what we sent; not deleted",
                        retry=False,
                        code="CONTENT_DIFFERS",
                    )
                rest.ask("DELETE", f"/instances/{one['ID']}")
        return "deleted there" if found else "not there"

    def version(self) -> str:
        """Return the version that answers at `url`.

        Raises
        ------
        DeliveryFailed
            If none does, or it does not let us in.
        """
        with self._connected() as rest:
            return str(_document(rest.ask("GET", "/system")).get("Version", "of unknown version"))

    def plugins(self) -> tuple[str, ...]:
        """Return the names of its plugins; raises as `version`."""
        with self._connected() as rest:
            return tuple(map(str, _document(rest.ask("GET", "/plugins"))))

    @contextmanager
    def _connected(self) -> Iterator[_Rest]:
        url = self._settings.url.rstrip("/")
        with Orthanc(
            url,
            username=self._settings.username or None,
            password=self._password,
            return_raw_response=True,
            timeout=self._settings.timeout_s,
            verify=self._trust,
            trust_env=False,  # a proxy of the environment must not see patients' objects
        ) as client:
            yield _Rest(client, url)


class _Rest:
    """Requests to one Orthanc over one kept connection; each failure a `DeliveryFailed`."""

    def __init__(self, client: Any, url: str):
        self._client = client
        self._url = url

    def find(self, level: str, **query: str) -> list[dict[str, Any]]:
        """Return the resources that match, with their main tags."""
        document = {"Level": level, "Query": query, "Expand": True}
        found: list[dict[str, Any]] = _document(self.ask("POST", "/tools/find", json=document))
        return found

    def ask(self, method: str, route: str, **arguments: Any) -> httpx.Response:
        """Return the response to a question, which must be 200."""
        response = self.request(method, route, **arguments)
        if response.status_code == httpx.codes.OK:
            return response
        answer = answer_of_http(response.status_code)
        raise failure(answer.verdict, answer.sentence)

    def request(self, method: str, route: str, **arguments: Any) -> httpx.Response:
        """Return whatever HTTP response comes."""
        try:
            response: httpx.Response = self._client.request(
                method, f"{self._url}{route}", **arguments
            )
            return response
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise failure(Verdict.UNREACHABLE, "cannot be reached") from None
        except httpx.HTTPError as error:
            raise failure(Verdict.NO_ANSWER, f"no answer came ({type(error).__name__})") from None


def _document(response: httpx.Response) -> Any:
    """Return the document of a response, which only an Orthanc would send."""
    try:
        return response.json()
    except ValueError:
        sentence = "something else than Orthanc answers at this address"
        raise failure(Verdict.NOT_ADMITTED, sentence) from None


def _upload(rest: _Rest, item: OutgoingObject) -> SendAnswer:
    headers = {
        "Content-Type": "application/dicom",
        "Content-Length": str(item.evidence.size_bytes),
    }
    try:
        with item.path.open("rb") as file:
            response = rest.request("POST", "/instances", content=file, headers=headers)
        if response.status_code != httpx.codes.OK:
            return answer_of_http(response.status_code)
        stored = _document(response).get("Status")
    except DeliveryFailed as error:
        return answer_of_failure(error)
    if stored == "AlreadyStored":
        return SendAnswer(
            verdict=Verdict.DUPLICATE,
            status=ALREADY_STORED,
            sentence="Orthanc already holds this UID",
        )
    return SendAnswer(verdict=Verdict.STORED, status="HTTP 200", sentence="stored (HTTP 200)")


def _instances(rest: _Rest, item: OutgoingObject) -> list[dict[str, Any]]:
    return rest.find(
        "Instance",
        StudyInstanceUID=item.evidence.study_instance_uid,
        SeriesInstanceUID=item.evidence.series_instance_uid,
        SOPInstanceUID=item.evidence.sop_instance_uid,
    )


def _patients(rest: _Rest, study_instance_uid: str) -> tuple[Identity, ...]:
    found = rest.find("Study", StudyInstanceUID=study_instance_uid)
    return tuple(_identity(study) for study in found)


def system_of(settings: DestinationSettings) -> str:
    """Return the version of the Orthanc that `settings` name; see `OrthancDestination.version`."""
    return OrthancDestination(settings).version()


def plugins_of(settings: DestinationSettings) -> tuple[str, ...]:
    """Return the plugins of the Orthanc that `settings` name; see `OrthancDestination.plugins`."""
    return OrthancDestination(settings).plugins()


def _password(settings: DestinationSettings) -> str | None:
    if not settings.password_env:
        return None
    value = os.environ.get(settings.password_env)
    if value is None:
        raise SettingsError(
            f"destination {settings.name}: the environment has no {settings.password_env}"
        )
    return value


def _identity(study: Mapping[str, Any]) -> Identity:
    tags = {**study.get("PatientMainDicomTags", {}), **study.get("MainDicomTags", {})}
    return Identity(**{name: str(tags.get(word, "")) for word, name in _IDENTITY.items()})
