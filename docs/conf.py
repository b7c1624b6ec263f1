"""The documentation site: ``make docs`` builds it into build/docs, and any doubt (a broken link, a name) fails it."""

import posixpath
import re
import shutil
from pathlib import Path

import click
from docutils import nodes
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

ROOT = Path(__file__).parents[1]
PAGES = {f"{name}.md": f"{name.lower()}.md" for name in ("SECURITY", "ARCHITECTURE", "CONTRIBUTING", "CHANGELOG")}
NOTEBOOK = "training_a_model_on_two_pods.ipynb"

project = "fl-app"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
]
exclude_patterns = ["study/*"]
suppress_warnings = ["myst.xref_missing_external"]

myst_enable_extensions = ["attrs_inline"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # `make notebook` executes it; its outputs are committed

default_role = "py:obj"  # docstrings write `name`; a name that is not on these pages is shown as code
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]  # not "Variables"
napoleon_use_rtype = False

html_theme = "furo"
html_title = "fl-app"
html_static_path = ["theme"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": False}


def adapt(app: Sphinx, name: str, source: list[str]) -> None:
    """Let links to the repository's own pages lead to the site's copies, and show which party types a block."""
    folder = (Path("docs") / name).parent
    source[0] = re.sub(r"\[([^\]]+)\]\((\.\./[\w./-]+)(#[\w-]+)?\)", lambda link: in_the_site(link, folder), source[0])
    source[0] = re.sub(
        r"^```(sh|text) ([a-z0-9-]+)\n", r"```{code-block} \1\n:caption: \2\n\n", source[0], flags=re.MULTILINE
    )


def in_the_site(link: re.Match[str], folder: Path) -> str:
    """Return the site's form of a link on a page in ``folder``; a file that the site lacks is named only."""
    text, target, anchor = link.groups()
    file = posixpath.normpath((folder / target).as_posix())
    if file in PAGES:
        up = "../" * (len(folder.parts) - 1)
        return f"[{text}]({up}project/{PAGES[file]}{anchor or ''})"
    if file.startswith("docs/"):
        return link[0]
    return f"{text} (`{file}`)" if (ROOT / file).is_file() else link[0]


class InlinePictures(SphinxPostTransform):
    """Put our drawings into the page itself, where they take the theme's colours, light or dark."""

    default_priority = 5

    def run(self) -> None:
        """Replace every drawing in docs/pictures; a plot stays a file."""
        for image in list(self.document.findall(nodes.image)):
            if image["uri"].startswith("pictures/") and image["uri"].endswith(".svg"):
                drawing = (Path(self.app.srcdir) / image["uri"]).read_text("utf-8")
                label = image["alt"].replace('"', "&quot;")
                figure = f'<figure class="drawing" role="img" aria-label="{label}">{drawing}</figure>'
                image.parent.replace(image, nodes.raw("", figure, format="html"))


def bring_notebook(app: Sphinx) -> None:
    """Take the notebook, which stands outside of the pages' directory, among the pages."""
    shutil.copyfile(ROOT / "notebooks" / NOTEBOOK, Path(app.srcdir) / NOTEBOOK)


def plain_signature(
    app: Sphinx, what: str, name: str, thing: object, options: object, signature: str, returned: str
) -> tuple[str, str] | None:
    """Show the fields of a model and their defaults; their types and limits stand in its docstring."""
    if not (isinstance(thing, type) and issubclass(thing, BaseModel)):
        return None
    fields = [
        key if field.is_required() else f"{key}={field.get_default(call_default_factory=True)!r}"
        for key, field in thing.model_fields.items()
    ]
    return f"(*, {', '.join(fields)})", ""


def quote(app: Sphinx, context: click.Context, lines: list[str]) -> None:
    """Show as code what a help text has in backticks, and its example."""
    lines[:] = [re.sub(r"`+([^`]+)`+", r"``\1``", line) for line in lines]
    lines[:] = [re.sub(r"^(Examples?:) (.+)", r"\1 ``\2``", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Register the above."""
    app.connect("builder-inited", bring_notebook)
    app.connect("source-read", adapt)
    app.connect("autodoc-process-signature", plain_signature)
    for part in ("description", "epilog", "options", "arguments"):
        app.connect(f"sphinx-click-process-{part}", quote)
    app.add_post_transform(InlinePictures)
