"""Labels CSV files, for the tests of labels."""

HEADER = "FileName,TypeOfTB"
GOOD = f"{HEADER}\na.nii,1\nb.nii.gz,5\nsub/a.nii,3\np.hdr,2\n"


def put(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def wrong(report):
    return list(map(str, report.wrong))
