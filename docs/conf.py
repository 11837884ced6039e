"""Configuration of Sphinx for this documentation."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.ext.napoleon.docstring import GoogleDocstring

project = "librats"
author = "the librats authors"
copyright = author
release = version_of("librats")
version = ".".join(release.split(".")[:2])

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"librats {release}"
html_show_sourcelink = False
html_show_copyright = False

# Nobody but librats makes these, so their constructors are of no interest.
MADE_BY_LIBRATS = {
    f"{module}.{name}"
    for module in ("librats", "librats.blocking")
    for name in ("AccessList", "IdentityLock", "MessageIterator", "Peer", "Stream")
}

_of_attributes: dict[str, list[str]] = {}


def _keep_attribute(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    # Napoleon takes what stands before a colon in the docstring of an attribute or a property for its type, and reads
    # no sections there. So theirs are converted as those of functions are, and put back behind it.
    if what in {"attribute", "property"}:
        _of_attributes[name] = GoogleDocstring(lines, app.config, app, "function", name, obj, options).lines()


def _put_attribute_back(_app: Sphinx, what: str, name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    if what in {"attribute", "property"}:
        lines[:] = _of_attributes.pop(name)


def _hide_constructor(
    _app: Sphinx, _what: str, name: str, _obj: Any, _options: Any, _signature: str | None, _returns: str | None
) -> tuple[str, None] | None:
    return ("", None) if name in MADE_BY_LIBRATS else None


def _leave_builtin_types(_app: Sphinx, doctree: nodes.document) -> None:
    # In a signature they are Python's own, not our attributes of these names.
    for reference in list(doctree.findall(pending_xref)):
        if reference.get("reftarget") in {"bytes", "type"}:
            reference.replace_self(reference.children)


def setup(app: Sphinx) -> None:
    """Connect the hooks above; that of napoleon has the priority 500."""
    app.connect("doctree-read", _leave_builtin_types)
    app.connect("autodoc-process-docstring", _keep_attribute, priority=400)
    app.connect("autodoc-process-docstring", _put_attribute_back, priority=600)
    app.connect("autodoc-process-signature", _hide_constructor)
