"""Sphinx: ``sphinx-build -W docs docs/_build``. Needs no network."""  # noqa: INP001 - no package

import holdfast

project = "holdfast"
author = "The holdfast maintainers"
version = release = holdfast.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"holdfast {release}"

myst_heading_anchors = 3

autodoc_member_order = "bysource"
# Fields with their defaults and reasons follow one by one; the signature would repeat them.
autodoc_class_signature = "separated"

nitpicky = True
# Other projects' names would need their inventories, and so a network.
nitpick_ignore_regex = [
    ("py:.*", r"(urllib3|requests|collections|typing|ssl|types|http|socket)\..*"),
    (
        "py:class",
        r"Address|PoolDriver|PoolEntry|Sieve|Silence|SocketT",
    ),  # private as well, by their short names
    ("py:.*", r"holdfast(\.\w+)*\._\w+(\..*)?"),  # private: shown in signatures, not documented
]
