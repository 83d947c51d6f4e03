"""The limits of the plausibility checks for chest CTs and action clips; samples beyond them are flagged.

They are wide, so that any real CT passes (a head, a limb, a cropped organ). They distinguish CT in HU from data that
only look like it: shifted, scaled or inverted values, other modalities, masks.
"""

# Ranges of HU
LOWEST_AIR = -1200.0  # HU; below is padding outside the scan circle, or an error
HIGHEST_AIR = -700.0  # HU; air and aerated lung are below
SOFT_TISSUE = (-200.0, 200.0)  # HU; fat, muscle, organs, blood
LOWEST_DENSE = 600.0  # HU; above is only dense bone, metal and contrast medium

# Values of a scan
MIN_AIR = 0.01  # share of voxels
MIN_SOFT_TISSUE = 0.02  # share of voxels; a limb in a wide field has 5 %
MAX_DENSE = 0.20  # share of voxels; a skull in a narrow field has 10 %
MAX_BRIGHT = 0.15  # share of voxels, where soft tissue has less than half of it; a bright aorta and spine have 13 %
MAX_DENSE_FLAT = 0.08  # the same if all air has one value, which may be padding that a wrong intercept shifted
MAX_FLAT_AIR = 1.0  # HU between the 2nd and the 98th percentile of air
MAX_BELOW_AIR = 0.10  # share of voxels, padding not counted
MAX_NONFINITE = 0.01  # share of voxels
MAX_FEW_VALUES = 50  # different values; 8-bit CT has some 200
MAX_CLIPPED = 0.98  # share of voxels that the window makes black or white

# Geometry of a scan
MIN_SLICES = 20
MAX_SLICE_SPACING = 12.0  # mm
MAX_PIXEL_RATIO = 2.0  # between the two spacings within an axial slice
WIDTHS = (100.0, 700.0)  # mm within an axial slice
LENGTHS = (50.0, 800.0)  # mm along the body
DEFAULT_PIXELS = 512  # along both axes of an axial slice; at 1 mm that is wider than a scanner's usual 500 mm

# Clips
MAX_STILL = 8.0  # gray levels of 255; encoding changes a still picture by less
MAX_FLAT = 8.0  # gray levels of 255
