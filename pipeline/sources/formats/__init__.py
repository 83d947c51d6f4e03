"""The formats of sources that can be read, one file each: every module defines `FORMAT`, see `pipeline.sources.format`.

DICOM would be one more file here (kind, endings, finder, recipe) and a reader in `pipeline.readers`.
"""
