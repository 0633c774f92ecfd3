"""Synthetic DICOM studies with ground truth."""
