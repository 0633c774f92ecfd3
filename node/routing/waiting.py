"""Jobs that wait for a region: ended by time, or given to the rules again (S21)."""

from __future__ import annotations

from node.dicom.report_regions import REPORT_CLASSES
from node.errors import RefusalCode
from node.logs import get_logger, hashed
from node.model import Job, StudyState
from node.settings import Settings
from node.storage.database import Database
from node.storage.intake_rows import change_study
from node.storage.waiting_rows import end_waiting, reports_arrived, waiting_jobs

log = get_logger(__name__)

_HOUR_S = 3600.0


def look_at_waiting(db: Database, settings: Settings, *, now: float) -> int:
    """End jobs that waited long enough, and have the rules asked again where a report came.

    Contours in a SEG or RTSTRUCT need no help from here: they re-open their study (S14).

    Returns
    -------
    int
        How many jobs ended, and how many studies go to the rules again.
    """
    done = sum(_end(db, one, settings, now) for one in waiting_jobs(db))
    for study_uid in reports_arrived(db, REPORT_CLASSES, now=now, quiet_s=settings.roi_quiet_s):
        done += _ask_again(db, study_uid, "a report came while a job waits for a region", now)
    return done


def _end(db: Database, waits: Job, settings: Settings, now: float) -> bool:
    limit_s = next((rule.roi_wait_s for rule in settings.rules if rule.name == waits.rule), None)
    if limit_s is not None and now - waits.created_at < limit_s:
        return False
    why = "its rule is gone" if limit_s is None else f"waited {_in_words(limit_s)}"
    reason = f"{waits.reason}; {why}"
    ended = end_waiting(db, waits, code=RefusalCode.ROI_MISSING.value, reason=reason, now=now)
    if ended:
        log.warning("job waited in vain", job=waits.id, plugin=waits.plugin_name_version)
    return ended


def _ask_again(db: Database, study_uid: str, reason: str, now: float) -> bool:
    asked = change_study(
        db, study_uid, StudyState.ROUTED, StudyState.COMPLETE, now=now, reason=reason
    )
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
