"""One tree of errors: each says its code, whether a retry helps, and its DICOM status."""

from __future__ import annotations

import errno
from enum import StrEnum


class RefusalCode(StrEnum):
    """Why a study, a series or a job is refused; stable, shown to admins, never reused."""

    #: Patient identity differs inside one study (S3).
    IDENTITY_MIXED = "IDENTITY_MIXED"
    #: The study has no Patient ID: nobody could say whose result it is (S3).
    IDENTITY_MISSING = "IDENTITY_MISSING"
    #: Two versions of one SOP Instance UID differ in pixels or geometry (S2).
    UID_CONFLICT = "UID_CONFLICT"
    #: No series fits an input role of the plugin.
    NO_SUITABLE_SERIES = "NO_SUITABLE_SERIES"
    #: The selected instances changed or vanished between choice and run.
    INPUT_CHANGED = "INPUT_CHANGED"
    #: Several phases lie in one series and no discriminator separates them (S18).
    PHASES_MIXED = "PHASES_MIXED"
    #: The headers of one stack say different contrast phases (S18).
    PHASE_CONTRADICTORY = "PHASE_CONTRADICTORY"
    #: Frames lie in more than one frame of reference, or in none; or the phases of one
    #: patient do.
    FRAME_OF_REFERENCE_MIXED = "FRAME_OF_REFERENCE_MIXED"
    FRAME_OF_REFERENCE_MISSING = "FRAME_OF_REFERENCE_MISSING"
    #: Image position or orientation is absent or not a number.
    POSITION_MISSING = "POSITION_MISSING"
    ORIENTATION_MISSING = "ORIENTATION_MISSING"
    #: Planes are not parallel, or the direction cosines are not orthonormal.
    ORIENTATION_MIXED = "ORIENTATION_MIXED"
    ORIENTATION_INVALID = "ORIENTATION_INVALID"
    #: Rows, columns or pixel spacing differ inside the stack, or pixel spacing is absent.
    GRID_MIXED = "GRID_MIXED"
    PIXEL_SPACING_MISSING = "PIXEL_SPACING_MISSING"
    #: Two planes at one position (S19).
    POSITION_DUPLICATE = "POSITION_DUPLICATE"
    #: A step larger than 1.5 times the median (S19).
    SLICE_MISSING = "SLICE_MISSING"
    #: Spacing varies by more than 5 % (S19).
    SPACING_VARIABLE = "SPACING_VARIABLE"
    #: The stack direction leaves the normal by more than 0.5 degrees (S19).
    GANTRY_TILT = "GANTRY_TILT"
    #: A spacing, a position or an extent that no scanner makes (S19).
    GEOMETRY_IMPLAUSIBLE = "GEOMETRY_IMPLAUSIBLE"
    TOO_FEW_SLICES = "TOO_FEW_SLICES"
    #: A frame is localizer, derived, a projection, colour, a map… (S17, S20).
    IMAGE_KIND_UNSUITABLE = "IMAGE_KIND_UNSUITABLE"
    #: Pixels are absent, truncated or in a transfer syntax that cannot be decoded here.
    PIXELS_MISSING = "PIXELS_MISSING"
    PIXELS_TRUNCATED = "PIXELS_TRUNCATED"
    PIXELS_UNDECODABLE = "PIXELS_UNDECODABLE"
    #: Pixel representation, bits or photometric interpretation differ or do not suit (S20).
    PIXEL_FORMAT_MIXED = "PIXEL_FORMAT_MIXED"
    PIXEL_FORMAT_UNSUITABLE = "PIXEL_FORMAT_UNSUITABLE"
    #: Values are not HU although the role asks for HU (S20).
    VALUES_NOT_HU = "VALUES_NOT_HU"
    RESCALE_MISSING = "RESCALE_MISSING"
    #: Values, or the scale they go through, are none that a scanner measures (S20).
    VALUES_IMPLAUSIBLE = "VALUES_IMPLAUSIBLE"
    MODALITY_LUT = "MODALITY_LUT"
    LOSSY_COMPRESSED = "LOSSY_COMPRESSED"
    #: Guards of the manifest (S22).
    AGE_OUT_OF_RANGE = "AGE_OUT_OF_RANGE"
    AGE_UNKNOWN = "AGE_UNKNOWN"
    BODY_PART_OUT_OF_SCOPE = "BODY_PART_OUT_OF_SCOPE"
    #: Kill switch of the plugin is on (S22).
    PLUGIN_DISABLED = "PLUGIN_DISABLED"
    #: The plugin needs a device (CUDA) that this node's slot is not.
    DEVICE_UNAVAILABLE = "DEVICE_UNAVAILABLE"
    #: A plugin that this site has not released may not write to a clinical destination (S4).
    GRADE_NOT_RELEASED = "GRADE_NOT_RELEASED"
    #: Routed study older than `max_age_days`; waits for a back-fill command (S15).
    STUDY_TOO_OLD = "STUDY_TOO_OLD"
    #: An attribute that the evidence must copy is missing or unusable in the source.
    SOURCE_ATTRIBUTE_UNUSABLE = "SOURCE_ATTRIBUTE_UNUSABLE"
    #: The result exceeds what may be encoded (frame budget, size).
    RESULT_TOO_LARGE = "RESULT_TOO_LARGE"
    #: A region of interest has no voxel, drawn or on the grid it is asked for (S21).
    ROI_EMPTY = "ROI_EMPTY"
    #: More of a region lies outside the image than the rules allow.
    ROI_OUTSIDE_IMAGE = "ROI_OUTSIDE_IMAGE"
    #: A region lies in another frame of reference than the image, or names none.
    ROI_FRAME_OF_REFERENCE = "ROI_FRAME_OF_REFERENCE"
    #: A region belongs to another patient or another study than the image.
    ROI_OTHER_PATIENT = "ROI_OTHER_PATIENT"
    ROI_OTHER_STUDY = "ROI_OTHER_STUDY"
    #: Approval Status of an RT Structure Set (S21).
    ROI_REJECTED = "ROI_REJECTED"
    ROI_UNAPPROVED = "ROI_UNAPPROVED"
    #: Points, open lines or shapes that enclose nothing we can fill.
    ROI_NOT_AN_AREA = "ROI_NOT_AN_AREA"
    #: Contours lie between or across the image planes.
    ROI_NOT_ON_PLANES = "ROI_NOT_ON_PLANES"
    #: Contours on every second plane or fewer: what lies between was not drawn.
    ROI_SLICES_SKIPPED = "ROI_SLICES_SKIPPED"
    #: Contours of one plane cross: union or hole, nobody knows.
    ROI_CONTOURS_CROSS = "ROI_CONTOURS_CROSS"
    #: The segment or the images that a report's region points at are not at hand.
    ROI_SEGMENT_MISSING = "ROI_SEGMENT_MISSING"
    #: One region says two things: two frames at one place, two kinds of region in one group.
    ROI_AMBIGUOUS = "ROI_AMBIGUOUS"
    #: A region that the plugin needs is not in the study, or did not come in time.
    ROI_MISSING = "ROI_MISSING"
    #: Several regions could be meant (S21).
    ROI_SEVERAL = "ROI_SEVERAL"
    #: The plugin looked at the values and cannot judge them: not what it was made for.
    CASE_UNSUITABLE = "CASE_UNSUITABLE"
    #: A region is not what its SOP class asks for, or in a form that cannot be read here.
    ROI_UNREADABLE = "ROI_UNREADABLE"


class NodeError(Exception):
    """Root of all our errors."""

    #: Short stable word for logs, rows and tests.
    code: str = "NODE_ERROR"
    #: Does trying again later help, with nothing changed by a person?
    retry: bool = False
    #: What a C-STORE is answered when this error ends it (PS3.4 B.2.3).
    dicom_status: int = 0xC000


class SettingsError(NodeError):
    """The settings file says something that cannot be obeyed; nothing starts."""

    code = "SETTINGS_INVALID"


class ManifestError(NodeError):
    """A plugin's manifest, weights or code is not what it must be."""

    code = "PLUGIN_INVALID"


class SchemaMismatch(NodeError):
    """The database has another schema than this program; says both numbers."""

    code = "SCHEMA_MISMATCH"
    dicom_status = 0xA700

    def __init__(self, sentence: str, *, code: str = "SCHEMA_MISMATCH"):
        super().__init__(sentence)
        self.code = code


#: `OSError.errno` of a disk that is full, read-only or broken.
NO_STORAGE = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO)


class StorageUnavailable(NodeError):
    """Disk or database cannot keep what came in; the sender must keep it (S11)."""

    code = "STORAGE_UNAVAILABLE"
    retry = True
    dicom_status = 0xA700


class InstanceRejected(NodeError):
    """A received object is not acknowledged; the status says why (S11)."""

    code = "INSTANCE_REJECTED"

    def __init__(self, sentence: str, *, dicom_status: int, code: str = "INSTANCE_REJECTED"):
        super().__init__(sentence)
        self.dicom_status = dicom_status
        self.code = code


class MalformedDataset(NodeError):
    """An encoded data set breaks PS3.5, or is deeper or larger than our guards allow."""

    code = "MALFORMED"

    def __init__(self, sentence: str, *, code: str = "MALFORMED"):
        super().__init__(sentence)
        self.code = code


class Refused(NodeError):
    """A study, series or job that we will not compute on, with its reason."""

    def __init__(self, code: RefusalCode, sentence: str):
        super().__init__(sentence)
        self.code: RefusalCode = code

    @property
    def sentence(self) -> str:
        """Return what happened, with the values, for a person."""
        return str(self)


class InputUnsettled(NodeError):
    """A version of an image came that is not compared yet (S2); the job waits until it is."""

    code = "INPUT_UNSETTLED"
    retry = True


class AttemptFailed(NodeError):
    """One attempt at a job ended without a result; may be tried again once."""

    code = "ATTEMPT_FAILED"
    retry = True


class PluginCrashed(AttemptFailed):
    """The plugin's process died or raised."""

    code = "PLUGIN_CRASHED"


class PluginTimedOut(AttemptFailed):
    """The plugin exceeded its time limit and was killed."""

    code = "PLUGIN_TIMED_OUT"


class PluginOutOfMemory(AttemptFailed):
    """The plugin exceeded its memory limit."""

    code = "PLUGIN_OUT_OF_MEMORY"


class ResultInvalid(AttemptFailed):
    """The plugin returned something its manifest does not allow; a retry does not help."""

    code = "RESULT_INVALID"
    retry = False


class ClinicalValueRefused(NodeError):
    """A clinical value is out of range, in a unit that does not fit, or not of its kind."""

    code = "CLINICAL_VALUE_REFUSED"


class LearningError(NodeError):
    """Data, a cohort or a training are not what they must be; nothing was written over."""

    code = "TRAINING_REFUSED"

    def __init__(self, sentence: str, *, code: str = "TRAINING_REFUSED"):
        super().__init__(sentence)
        self.code = code


class QueryFailed(NodeError):
    """A peer did not answer a query; says what, without patient data."""

    code = "QUERY_FAILED"
    retry = True


class EvidenceRejected(NodeError):
    """An object that we made has an `own` finding and must not leave (S5)."""

    code = "EVIDENCE_REJECTED"


class LeaseLost(NodeError):
    """Another worker owns the job now; this one may not finish it (E1)."""

    code = "LEASE_LOST"


class DeliveryFailed(NodeError):
    """A destination did not take an object; `retry` says whether to come again (S23)."""

    code = "DELIVERY_FAILED"

    def __init__(self, sentence: str, *, retry: bool, code: str = "DELIVERY_FAILED"):
        super().__init__(sentence)
        self.retry = retry
        self.code = code
