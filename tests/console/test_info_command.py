"""`info` shows the contents of a cache."""

from tests.helpers.commands import cli, ct
from tests.helpers.scans import INVALID, write_invalid

RECIPE = (
    "recipe: kind ct, version 1, depth 8, height 16, width 16, order 3, window [-1000.0, 400.0], "
    "orientation SPL, preset paper, dtype uint16\n"
)


def test_info_shows_the_contents_of_the_cache(scans, cache, labels):
    write_invalid(scans / "bad.nii")
    (scans / "link").symlink_to("sub")
    ct(scans, cache, "--labels", labels("a.nii,1", "b.nii.gz,5"))
    result = cli("info", cache)
    assert result.exit_code == 0
    assert result.stdout == (
        f"{cache}: ct, 3 samples of 8×16×16\n{RECIPE}"
        "  Infiltrative: 1\n  Focal: 0\n  Tuberculoma: 0\n  Miliary: 0\n  Fibro-cavernous: 1\n  unlabelled: 1\n"
        "patients: unknown, each scan is its own group\n"
        "5 discovered = 3 complete + 1 quarantined + 1 excluded\n"
        "Excluded:\n  link: link to a folder, not followed; give the folder itself as SOURCE\n"
        f"Quarantined:\n  bad.nii: {INVALID}\n"
    )
