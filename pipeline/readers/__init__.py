"""Readers: one folder for each kind of file, from its bytes to raw slices or frames. A DICOM reader would go here."""
