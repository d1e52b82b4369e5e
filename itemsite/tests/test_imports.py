"""``./lab imports``: the picture shows every import between rooms, and forbidden ones in red."""

from xml.etree import ElementTree

import grimp
import pytest

from itemsite.lab import imports, rooms
from itemsite.lab.cli import main
from itemsite.lab.errors import LabError
from itemsite.lab.rooms import Arrow, Layers

SVG = "{http://www.w3.org/2000/svg}"
LAYERS = Layers.parse(["views", "left | right", "store : log", "base"], ["tests"])


def graph_of(*pairs):
    """A graph in which each pair imports: ("views.pages", "base")."""
    graph = grimp.ImportGraph()
    for importer, imported in pairs:
        graph.add_import(
            importer=f"cachelayer.{importer}",
            imported=f"cachelayer.{imported}",
            line_number=7,
            line_contents=f"from cachelayer import {imported}",
        )
    return graph


def drawn(text):
    """The titles of the arrows in a picture, and of those which are red."""
    found = ElementTree.fromstring(text).findall(f"{SVG}g")
    titles = {each.findtext(f"{SVG}title"): each.get("class") for each in found}
    titles.pop(None, None)
    return set(titles), {title for title, name in titles.items() if "against" in name}


def test_no_arrow_points_against_the_layers():
    layers = Layers.of_contract()
    found = rooms.arrows(grimp.build_graph("cachelayer"), layers)
    assert len(found) > 20
    assert [arrow for arrow in found if layers.forbid(arrow)] == []


def test_every_room_of_cachelayer_stands_in_a_layer_and_is_drawn():
    layers = Layers.of_contract()
    graph = grimp.build_graph("cachelayer")
    names = {name.partition(".")[2] for name in graph.find_children("cachelayer")}
    assert "protocol" in names
    picture = imports.draw(layers, [])
    for name in names - layers.ignored:
        layers.of(name)
        assert f">{name}</text>" in picture


def test_imports_between_rooms_are_counted_and_others_are_not():
    graph = graph_of(
        ("views.list", "base"),
        ("views.detail", "base.names"),
        ("views.list", "views.detail"),
        ("tests.test_views", "views.list"),
        ("views.list", "tests"),
    )
    assert rooms.arrows(graph, LAYERS) == [Arrow("views", "base", 2)]


@pytest.mark.parametrize(
    ("importer", "imported", "forbidden"),
    [
        ("views", "base", False),
        ("base", "views", True),
        ("store", "log", False),
        ("left", "right", True),
        ("cachelayer", "views", False),
        ("base", "cachelayer", True),
    ],
)
def test_what_layers_forbid(importer, imported, forbidden):
    assert LAYERS.forbid(Arrow(importer, imported, 1)) is forbidden


def test_an_arrow_against_the_layers_is_red():
    allowed, against = Arrow("views", "base", 3), Arrow("base", "store", 1)
    titles, red = drawn(imports.draw(LAYERS, [allowed, against]))
    assert titles == {"views imports base: 3", "base imports store: 1"}
    assert red == {"base imports store: 1"}


@pytest.fixture
def of_a_graph(monkeypatch, tmp_path):
    """Run the command on another graph; its exit code, and the picture."""

    def run(graph):
        monkeypatch.setattr(grimp, "build_graph", lambda name: graph)
        monkeypatch.setattr(Layers, "of_contract", lambda: LAYERS)
        path = tmp_path / "folder" / "rooms.svg"
        return main(["imports", str(path)]), path.read_text()

    return run


def test_the_command_draws_a_file_and_says_what_is_in_it(of_a_graph, capsys):
    code, picture = of_a_graph(graph_of(("views", "base")))
    assert code == 0
    assert drawn(picture) == ({"views imports base: 1"}, set())
    assert "1 imports between 7 rooms, 0 against the layers." in capsys.readouterr().out


def test_an_arrow_against_the_layers_fails_the_command_and_names_the_line(of_a_graph, capsys):
    code, picture = of_a_graph(graph_of(("views", "base"), ("base.names", "store.keys")))
    assert code == 1
    assert drawn(picture)[1] == {"base imports store: 1"}
    said = capsys.readouterr()
    assert "1 against the layers" in said.out
    assert "base may not import store" in said.err
    assert "cachelayer.base.names:7: from cachelayer import store.keys" in said.err


def test_a_room_that_stands_in_no_layer_is_refused():
    with pytest.raises(LabError, match="attic stands in no layer; add it to the contract"):
        LAYERS.forbid(Arrow("attic", "base", 1))


def test_a_second_argument_is_refused(capsys):
    assert main(["imports", "a.svg", "b.svg"]) == 2
    assert "takes no 'b.svg'" in capsys.readouterr().err
