"""Class names for tests of splits."""

NAMES = ("Infiltrative", "Focal", "Tuberculoma", "Miliary", "Fibro-cavernous")
