"""Tables in Markdown."""


def cells(lines):
    """The tables of a report, each a list of rows, which are split into cells at unescaped bars."""
    tables, previous = [], ""
    for line in lines:
        if line.startswith("|"):
            tables += [] if previous.startswith("|") else [[]]
            escaped = line.replace("\\\\", "\0").replace("\\|", "\1")
            tables[-1].append([cell.strip() for cell in escaped.strip("|").split("|")])
        previous = line
    return tables
