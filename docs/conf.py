"""How the documentation is built: offline, every code block run, warnings fatal.

sphinx-build -W -b html docs docs/_build/html
"""

import os
import sys
from importlib.resources import files
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))
# The kernels that run the code blocks draw in pages, not in windows.
os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"

import neuromod

project = "neuromod"
author = "The neuromod developers"
project_copyright = "the neuromod developers"
version = release = neuromod.__version__
language = "en-GB"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "mathml",
    "plain_docstrings",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
# The browser draws equations by itself, given a font with mathematical metrics; the
# package ziamath carries one under the SIL Open Font License.
MATH_FONT = files("ziamath.fonts") / "STIXTwoMath-Regular.ttf"
html_static_path = ["_static", str(MATH_FONT)]
html_css_files = ["neuromod.css"]

# Code blocks are run anew at each build, and an error in one fails it. Tutorials
# carry the outputs of their own full run.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 300
nb_execution_excludepatterns = ["tutorials/*"]
nb_merge_streams = True
nb_output_stderr = "remove"  # progress bars
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
default_role = "literal"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_param = False

html_theme = "pydata_sphinx_theme"
html_title = "neuromod"
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
# Only tutorials and the reference have pages below them.
html_sidebars = {
    page.stem: []
    for page in Path(__file__).parent.glob("*.md")
    if page.stem not in ("reference", "tutorials")
}
html_theme_options = {
    "logo": {"text": "neuromod"},
    "navigation_with_keys": False,
    "navbar_align": "left",
    "navbar_persistent": [],
    "navbar_end": ["search-button", "theme-switcher"],
    "header_links_before_dropdown": 10,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
