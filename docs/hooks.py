"""Hooks of MkDocs: bring the pages at the top of the repository into the site, and adapt the links.

The pages link to each other as files of the repository, so their links work there too. In the site, a link to a page
leads to that page, and a link to anything else, such as code, becomes text.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

TOP_PAGES = ("CONTRIBUTING.md", "STYLE.md", "CHANGELOG.md")
FOREIGN = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages at the top of the repository."""
    for name in TOP_PAGES:
        files.append(File.generated(config, name, abs_src_path=str(Path(config.docs_dir).parent / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    here = page.file.src_uri
    folder = "" if here in TOP_PAGES else posixpath.join("docs", posixpath.dirname(here))

    def fit(match: re.Match[str]) -> str:
        mark, text, link = match.groups()
        target, sign, anchor = link.partition("#")
        if not target or "://" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if not path.startswith("docs/") and path not in TOP_PAGES:
            return text
        uri = path.removeprefix("docs/")
        return f"{mark}[{text}]({posixpath.relpath(uri, posixpath.dirname(here) or '.')}{sign}{anchor})"

    return LINK.sub(fit, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads anything from another server: the site is read without a network too."""
    found = FOREIGN.search(output)
    if found:
        raise PluginError(f"{page.file.src_uri} loads {found[0]}; expected only files of the site.")
    return output
