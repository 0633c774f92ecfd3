"""Real viewers in a headless browser: does the overlay lie where the voxels are?

`make test-viewers` runs this; docs/viewers.md says what was seen. Parts:

    bench.py     Orthanc with DICOMweb, nginx with OHIF and the dwv page, all on loopback
    studies.py   a stack of images with its mask; phantoms with marked sides
    objects.py   what each profile makes of a phantom
    measure.py   where the image lies on the screen (fitted to its pixels), distance of boundaries
    ohif.py, dwv.py   drivers of the two pages
    prove.py     `prove_overlay`: the measure on several slices
    sides.py     `prove_side`: left and right by the picture alone
    wrong.py     segmentations that must be found out
    matrix.py    pictures for docs/viewers.md
"""
