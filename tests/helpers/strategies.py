"""Hypothesis strategies for the contents of a cache."""

from hypothesis import strategies as st

from cache.schema import (
    MAX_CHUNK_BYTES,
    MAX_ROWS,
    STATES,
    Entry,
    Source,
)

text = st.text(st.characters(exclude_categories=["Cs"]))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)


numbers = st.integers(0, MAX_ROWS - 1)


file_names = st.from_regex(r"[^/\0.][^/\0]{0,8}(/[^/\0.]{1,5}){0,2}", fullmatch=True)


sources = st.builds(
    Source, root=text.map(lambda t: t.replace("\0", "")), files=st.lists(file_names, max_size=2).map(tuple),
    size=st.integers(-1), mtime_ns=st.integers(), digest=text,
)  # fmt: skip


entries = st.builds(
    Entry, id=text.filter(bool), state=st.sampled_from(STATES), row=numbers, label=st.integers(-1, 99), group=text,
    reason=text, retry=st.booleans(), source=sources, recipe=text, nbytes=st.integers(0, MAX_CHUNK_BYTES), digest=text,
    details=st.dictionaries(text, json_values, max_size=3),
)  # fmt: skip
