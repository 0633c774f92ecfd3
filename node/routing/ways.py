"""Where the result of a job goes that a person lets run again: the rule's word of today."""

from __future__ import annotations

from node.model import Job
from node.settings import Settings
from node.storage.job_rows import Way


def way_of_today(settings: Settings, job: Job) -> Way | None:
    """Return where the job's rule sends results now.

    Running again is a new decision: destinations that were corrected since then count, and so
    does shadow mode. What may go there is asked again for each object before it leaves (S4, S22).

    Returns
    -------
    Way or None
        None: the settings have no rule of that name for that plugin any more; the job keeps
        what it has.
    """
    for rule in settings.rules:
        if rule.name == job.rule and rule.plugin.partition("@")[0] == job.plugin:
            return Way(destinations=rule.destinations, shadow=rule.shadow)
    return None
