"""Sentinel Node: a clinical AI node that lives in a hospital's DICOM network."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("sentinel-node")
except PackageNotFoundError:  # a checkout that nobody installed
    __version__ = "0+unknown"
