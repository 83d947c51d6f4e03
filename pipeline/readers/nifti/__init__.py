"""NIfTI reader: header, raw slices and geometry of one scan; the only door of nibabel and isal.

No header is trusted before it is checked against the file: what it claims must fit in the file's own size (for gzip, in
the most that deflate can hold) before anything is allocated. The file is then read once, front to back, every byte of
it hashed, and to its very end, so that a gzip's checksum and length are checked. Whatever cannot become a sample raises
InvalidInput; only the system's own OSErrors (permission, vanished file) pass.
"""

from pipeline.readers.nifti.scan import Scan, open_scan

__all__ = ["Scan", "open_scan"]
