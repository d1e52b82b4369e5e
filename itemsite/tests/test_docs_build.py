"""The docs build without a warning, no link in them is dead, and they need no network."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from itemsite.lab import cli, docs
from itemsite.lab.bootstrap import ROOT
from itemsite.lab.errors import LabError


class Page(HTMLParser):
    """What a page links to, what it loads, and where links into it may lead."""

    def __init__(self, path):
        super().__init__()
        self.path, self.links, self.loads, self.anchors = path, [], [], {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors.add(given.get("id"))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag in ("link", "script", "img", "iframe"):
            self.loads += [given[name] for name in ("href", "src") if name in given]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    out = tmp_path_factory.mktemp("docs") / "html"
    docs.build(ROOT / "docs", out)
    return {path: Page(path) for path in out.rglob("*.html")}


def test_every_page_is_built_and_reached_from_the_first(pages):
    sources = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    [out] = {path.parent for path in pages if path.name == "genindex.html"}
    built = {path.relative_to(out).with_suffix(".md") for path in pages}
    assert sources <= built
    reached = {out / "index.html"}
    while new := {t for page in reached for t, _ in targets(pages[page]) if t in pages} - reached:
        reached |= new
    assert {path.with_suffix(".html") for path in map(out.joinpath, sources)} <= reached


def targets(page):
    """The files and anchors of this site that *page* links to or loads."""
    for link in [*page.links, *page.loads]:
        parts = urlsplit(link)
        if parts.scheme not in ("http", "https", "data", "mailto"):
            path = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            yield path, unquote(parts.fragment)


def test_no_link_is_dead(pages):
    links = {target for page in pages.values() for target in targets(page)}
    assert len(links) > 100
    assert [path for path, _ in links if not path.is_file()] == []
    there = [(path, anchor) for path, anchor in links if path in pages]
    assert [link for link in there if link[1] not in pages[link[0]].anchors] == []


def test_nothing_is_loaded_from_elsewhere(pages):
    elsewhere = ("http:", "https:", "//")
    loaded = [url for page in pages.values() for url in page.loads]
    assert loaded
    assert [url for url in loaded if url.startswith(elsewhere)] == []
    folder = next(path.parent for path in pages if path.name == "genindex.html")
    for sheet in folder.rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?(?:https?:)?//", sheet.read_text()), sheet


def test_a_warning_is_an_error(tmp_path, capfd):
    source = tmp_path / "docs"
    source.mkdir()
    (source / "conf.py").write_text('extensions = ["myst_parser"]\n')
    (source / "index.md").write_text("# A page\n\n[nothing](there.md)\n")
    with pytest.raises(LabError, match=r"mend them, then run \./lab docs"):
        docs.build(source, tmp_path / "html")
    assert "there.md" in capfd.readouterr().err


def test_the_command_says_where_the_pages_are(monkeypatch, capsys, tmp_path):
    built = []
    monkeypatch.setattr(docs, "build", lambda *paths: built.append(paths))
    assert cli.main(["docs"]) == 0
    [(source, out)] = built
    assert (source, out) == (ROOT / "docs", ROOT / "var" / "docs")
    assert str(out / "index.html") in capsys.readouterr().out


def test_the_command_takes_no_arguments(capsys):
    assert cli.main(["docs", "html"]) == 2
    assert "./lab docs takes no 'html'" in capsys.readouterr().err
