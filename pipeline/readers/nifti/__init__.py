"""NIfTI reader: header, raw slices and geometry of one scan; only this package imports nibabel and isal.

No header is trusted before it is checked against the file: the bytes that it claims must fit into the file (for gzip,
into the most that deflate can expand it to) before anything is allocated. The file is then read once, front to back to
its very end, so that a gzip's checksum and length are checked, and every byte is hashed. A file that cannot become a
sample raises InvalidInput; only OSErrors of the system (permission, vanished file) pass through.
"""

from pipeline.readers.nifti.scan import Scan, open_scan

__all__ = ["Scan", "open_scan"]
