"""Configuration of the documentation site, which `make docs` builds from the same Markdown that a code host shows."""

import os
import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

import lightning_tasks  # noqa: E402

# Where the repository is on the web. Where this is unset, links to its files lead to this folder.
REPOSITORY = os.environ.get("REPOSITORY_URL")
FILES = f"{REPOSITORY}/blob/main" if REPOSITORY else ROOT.as_uri()
PAGES = (".md", ".ipynb")

project = "lightning-tasks"
author = "The lightning-tasks authors"
copyright = "2026, the lightning-tasks authors"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]

myst_enable_extensions = ["alert", "dollarmath"]  # as on GitHub
myst_heading_anchors = 4
myst_url_schemes = {"http": None, "https": None, "mailto": None, "repository": FILES + "/{{path}}#{{fragment}}"}
nb_execution_mode = "off"  # a test runs the notebooks

highlight_language = "text"  # of blocks without a language: commands and what they print
add_module_names = False
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_typehints_format = "short"
autosummary_generate = False
default_role = "literal"  # docstrings write code in single backticks
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = project
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = (
    {"source_repository": REPOSITORY, "source_branch": "main", "source_directory": "docs/"} if REPOSITORY else {}
)

for name in lightning_tasks.__all__:  # imported when first used, and autodoc looks only at what is there
    getattr(lightning_tasks, name)


def prepare_page(app: Sphinx, page: str, source: list[str]) -> None:
    """Put README.md on the front page, and point links to files that are not pages at the repository."""
    folder = home = Path(app.env.doc2path(page)).parent
    text = source[0]
    if page == "index":
        app.env.note_dependency(ROOT / "README.md")
        home = ROOT
        # Sphinx warns of a folder without pages.
        lines = [line for line in text.splitlines() if not line.endswith("/*") or (DOCS / line).parent.is_dir()]
        text = (ROOT / "README.md").read_text() + "\n".join(lines)

    def resolved(link: re.Match[str]) -> str:
        path = Path(os.path.normpath(home / link["path"]))
        if not path.is_relative_to(ROOT) or not path.exists():
            return link[0]  # Sphinx warns of it
        if path.suffix == ".png" or (path.is_relative_to(DOCS) and path.suffix in PAGES):
            return f"]({os.path.relpath(path, folder)}{link['anchor']})"
        return f"](repository:{path.relative_to(ROOT)}{link['anchor']})"

    text = re.sub(r"(?<=\S) {3,}# ", "  # ", text)  # comments beside commands, aligned for wider pages than these
    source[0] = re.sub(r"\]\((?P<path>[\w./-]+)(?P<anchor>#[\w-]+|)\)", resolved, text)


def setup(app: Sphinx) -> None:
    """Connect what prepares a page."""
    app.connect("source-read", prepare_page)
