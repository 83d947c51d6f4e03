"""Tables in Markdown."""


def cells(lines):
    """The tables of a report: of each its rows, split at unescaped bars."""
    tables, last = [], ""
    for line in lines:
        if line.startswith("|"):
            tables += [] if last.startswith("|") else [[]]
            hidden = line.replace("\\\\", "\0").replace("\\|", "\1")
            tables[-1].append([cell.strip() for cell in hidden.strip("|").split("|")])
        last = line
    return tables
