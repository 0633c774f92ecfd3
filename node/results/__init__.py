"""DICOM objects made from a Result, and the checks before they leave."""
