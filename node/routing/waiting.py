"""Jobs that wait for a region: ended by time, or given to the rules again (S21)."""

from __future__ import annotations

from collections.abc import Mapping

from node.dicom.report_regions import REPORT_CLASSES
from node.errors import RefusalCode
from node.logs import get_logger, hashed
from node.manifest import Manifest
from node.routing.region_reading import StudyRegions
from node.settings import Settings
from node.storage.database import Database
from node.storage.retry_rows import look_again
from node.storage.waiting_rows import (
    WAITS_FOR_RESULT,
    WaitingJob,
    end_waiting,
    is_under_way,
    note_on_waiting,
    reports_arrived,
    waiting_jobs,
)

log = get_logger(__name__)

_HOUR_S = 3600.0
_IN_OTHER_STUDY = (
    "a contour names these images but is filed in another study, "
    "so it was not used; store it in the study of the images"
)


def look_at_waiting(
    db: Database, settings: Settings, manifests: Mapping[str, Manifest], *, now: float
) -> int:
    """End jobs that waited long enough; ask the rules again where a report or a result came.

    Contours in a SEG or RTSTRUCT need no help from here: they re-open their study (S14).

    Returns
    -------
    int
        How many jobs ended, and how many studies go to the rules again.
    """
    done = 0
    for one in waiting_jobs(db):
        if _end(db, one, settings, now):
            done += 1
        elif one.reason_code == WAITS_FOR_RESULT and not _under_way(db, one, manifests):
            done += _ask_again(
                db, one.study_instance_uid, "the result of a plugin is here", now, rule=one.rule
            )
    for study_uid in reports_arrived(db, REPORT_CLASSES, now=now, quiet_s=settings.roi_quiet_s):
        done += _ask_again(db, study_uid, "a report came while a job waits for a region", now)
    return done


def tell_waiting(db: Database, regions: StudyRegions) -> None:
    """Tell jobs that wait for a region that one was drawn on their images, in another study.

    Parameters
    ----------
    regions : StudyRegions
        Of the study that was just given to the rules; read only where a job waits at all.
    """
    if waiting_jobs(db) and regions.studies_named:
        told = note_on_waiting(db, regions.studies_named, _IN_OTHER_STUDY)
        if told:
            log.warning("contour in another study than its images", waiting_jobs=told)


def _end(db: Database, waits: WaitingJob, settings: Settings, now: float) -> bool:
    limit_s = next((rule.roi_wait_s for rule in settings.rules if rule.name == waits.rule), None)
    if limit_s is not None and now - waits.created_at < limit_s:
        return False
    why = "its rule is gone" if limit_s is None else f"waited {_in_words(limit_s)}"
    reason = f"{waits.reason}; {why}"
    ended = end_waiting(db, waits, code=RefusalCode.ROI_MISSING.value, reason=reason, now=now)
    if ended:
        log.warning("job waited in vain", job=waits.id, plugin=waits.plugin_name_version)
    return ended


def _under_way(db: Database, waits: WaitingJob, manifests: Mapping[str, Manifest]) -> bool:
    """Return whether a job is not done whose result the waiting one needs."""
    manifest = manifests.get(waits.plugin_name_version)
    if manifest is None or manifest.digest != waits.plugin_digest:
        return True  # without its plugin it waits until its time is over
    needed = {role.from_plugin for role in manifest.rois.values()} - {""}
    return is_under_way(db, waits.study_instance_uid, needed)


def _ask_again(db: Database, study_uid: str, reason: str, now: float, rule: str = "") -> bool:
    asked = look_again(db, study_uid, reason=reason, now=now, unless_held_by=rule)
    if asked:
        log.info("study goes to the rules again", study=hashed(study_uid))
    return asked


def _in_words(seconds: float) -> str:
    """Return a time as people say it.

    Examples
    --------
    >>> _in_words(90), _in_words(259200)
    ('90 s', '72 h')
    """
    return f"{seconds / _HOUR_S:g} h" if seconds >= _HOUR_S else f"{seconds:g} s"
