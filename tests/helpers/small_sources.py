"""Tiny sources that are quick to create: clips of constant gray from text files, and small scans."""

from contextlib import nullcontext

import nibabel as nib
import numpy as np

from cache.fingerprint import digest_files
from pipeline.errors import InvalidInput
from pipeline.jobs import preprocess
from pipeline.recipes.base import Sample
from pipeline.recipes.video import VideoRecipe
from pipeline.workers.executors.serial import serial

SMALL = {"depth": 4, "height": 8, "width": 8}


class Clips(VideoRecipe):
    """Clips of constant gray, from text files, so that classes can be tested without encoding any."""

    def make(self, paths):
        if (text := paths[0].read_text()) == "bad":
            raise InvalidInput("bad", "good", "mend it")
        values = np.full((self.depth, self.height, self.width), len(text), np.uint8)
        return Sample(values, digest_files(paths), {"notes": []})


def clip(root, name, text="clip"):
    path = root / name.split("/")[0] / f"v_{name.replace('/', '_')}_g01_c01.avi"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def run(source, cache, recipe, **options):
    return preprocess.run(preprocess.prepare(source, cache, recipe, **options), nullcontext(serial))


CLIPS = Clips(**SMALL)


def scan(path, value=0, shape=(6, 6, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.full(shape, value, np.int16), np.diag([-1, -1, 1, 1])), path)
    return path
