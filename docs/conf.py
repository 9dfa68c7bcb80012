"""Sphinx: `make docs` builds docs/_build/html."""

from importlib.metadata import version as installed_version

project = "nnpf"
author = "the nnpf authors"
project_copyright = author
release = version = installed_version("nnpf")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_argparse_cli",
    "sphinx_copybutton",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = False

html_theme = "furo"
html_title = f"nnpf {release}"
html_static_path: list[str] = []

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_use_ivar = True
add_module_names = False

copybutton_prompt_text = "$ "
# Where commands are shown with what they print, only the commands are copied.
copybutton_only_copy_prompt_lines = True
