"""The report: what it says, in which states of a run, and that nothing in the data becomes part of the page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotly.offline import get_plotlyjs

from invdesign.campaign.load import load_campaign
from invdesign.cli.describe import format_table
from invdesign.report.files import OutputError
from invdesign.report.html import render_report, script_json, write_report
from invdesign.report.tables import restore_paths
from invdesign.run.run import Run
from invdesign.store.store import STORE_FILE, Store
from tests.report.conftest import EVIL, PLUGINS, crystals, parameters
from tests.support import campaign, finished


class Page(HTMLParser):
    """Tags, scripts and visible text of a page, as a browser reads it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str, str]] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self._inside.append(tag)
            self.scripts.append((dict(attrs).get("type") or tag, ""))

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside:
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        else:
            self.text += data

    def figures(self) -> dict[str, Any]:
        """The data block the figures are drawn from."""
        (text,) = (text for kind, text in self.scripts if kind == "application/json")
        data: dict[str, Any] = json.loads(text)
        return data


@pytest.fixture(scope="session")
def crystal_page(crystal_run: Run) -> Page:
    """The report of the run over crystals."""
    return Page(render_report(crystal_run))


def test_the_page_holds_plotly_once_and_fetches_nothing(crystal_run: Run) -> None:
    """One file, opened offline: Plotly is embedded once, and no element names an address."""
    text = render_report(crystal_run)
    assert text.count(get_plotlyjs()) == 1
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    style = next(text for kind, text in page.scripts if kind == "style")
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_allows_exactly_the_two_scripts_of_the_page(crystal_run: Run) -> None:
    """Every executable script's hash is in the content policy; anything else would be refused by the browser."""
    page = Page(render_report(crystal_run))
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv")) or ""
    scripts = [text for kind, text in page.scripts if kind == "script"]
    hashes = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts}
    assert len(scripts) == 2
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == hashes
    assert "default-src 'none'" in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]


def test_it_says_what_was_asked_and_what_came_of_it(crystal_page: Page, crystal_run: Run) -> None:
    """Objectives with units and uncertainties, counts, the caveat of hull distances, the reference point."""
    text = " ".join(crystal_page.text.split())
    assert "Which rocksalts are dense and wide?" in text
    assert re.search(r"−0\.\d{3} ± 0\.010 ± 0\.05 \(method\) eV/atom", text)
    assert "about 50 meV/atom" in text
    assert "Reference point: decomposition_energy" in text
    assert "decomposition_energy ≤ 0.05 eV/atom" in text
    assert "density ≤ 5 g/cm³" in text
    assert crystal_run.status().reason in text


def test_it_lists_failures_by_cause(crystal_page: Page) -> None:
    """Each cause with an example; a refusal of the space is one."""
    text = " ".join(crystal_page.text.split())
    assert "potassium is too large" in text
    assert "MgO is <b>not</b> wanted" in text


def test_it_says_how_to_repeat_the_run(crystal_page: Page, crystal_run: Run) -> None:
    """Digest, hash of the campaign, potential, versions and commands are there."""
    text = " ".join(crystal_page.text.split())
    for word in (
        crystal_run.digest(),
        crystal_run.campaign.fingerprint,
        "toy-potential-1-abcdef",
        f"invdesign resume {crystal_run.folder}",
        "numpy",
    ):
        assert word in text


def test_the_campaign_text_is_shown_verbatim(tmp_path: Path) -> None:
    """Comments and spacing of the file survive, escaped."""
    file = tmp_path / "toy.yaml"
    text = "# <why> & what for\n" + json.dumps(parameters(candidates=5), indent=2) + "\n"
    file.write_text(text, encoding="utf-8")
    run = finished(load_campaign(file), tmp_path / "run")
    page = Page(render_report(run))
    assert text.strip() in page.text
    assert "# &lt;why&gt; &amp; what for" in render_report(run)


def test_a_pool_is_named_as_the_campaign_names_it(tmp_path: Path) -> None:
    """No absolute path, neither under what was asked nor among all settings; rows are told in plain words as not asked before."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_text("x,y\n0.1,0.2\n0.3,0.4\n0.5,0.9\n")
    file = tmp_path / "pool.yaml"
    file.write_text(
        "version: 1\nname: rows\nspace: {kind: pool, source: data/rows.csv, columns: [x, y]}\n"
        "evaluate: [{landscape: {function: sphere}}]\nobjectives: [{minimize: height}]\n"
        "optimizer: random\nbudget: {candidates: 3}\n"
    )
    page = Page(render_report(finished(load_campaign(file), tmp_path / "run"), model=False))
    assert "source data/rows.csv" in page.text
    assert '"path": "data/rows.csv"' in page.text
    assert str(tmp_path / "data") not in page.text
    assert "Chosen among candidates not asked before" in page.text
    assert "unasked" not in page.text


def test_a_stage_with_a_suffix_is_named_by_its_evaluator(tmp_path: Path) -> None:
    """Its settings stand as in the campaign file; the wrapper has no name for people."""
    page = Page(
        render_report(
            finished(
                parameters(
                    candidates=3,
                    evaluate=[
                        {"landscape": {"function": "sphere"}},
                        {"landscape": {"name": "again", "function": "rastrigin", "suffix": "two"}},
                    ],
                ),
                tmp_path / "run",
            ),
            model=False,
        )
    )
    assert "again landscape suffix two, function rastrigin" in " ".join(page.text.split())
    assert "suffixed" not in page.text.partition("All settings")[0]


def test_candidates_that_share_the_best_value_are_counted(tmp_path: Path) -> None:
    """The first of them is named; no family trees are shown where no candidate has parents."""
    (tmp_path / "rows.csv").write_text("x,y\n0.1,0.2\n0.2,0.1\n0.5,0.9\n")
    file = tmp_path / "pool.yaml"
    file.write_text(
        "version: 1\nname: rows\nspace: {kind: pool, source: rows.csv, columns: [x, y]}\n"
        "evaluate: [{landscape: {function: sphere}}]\nobjectives: [{minimize: height}]\n"
        "constraints: [{height: {max: 0.2}}]\noptimizer: random\nbudget: {candidates: 3}\n"
    )
    run = finished(load_campaign(file), tmp_path / "run")
    page = Page(render_report(run, model=False))
    assert "and 1 more with this value" in " ".join(page.text.split())
    assert "Lineage" not in page.text
    assert [row["feasible"] for row in run.top()] == [True, True, False]
    assert ["violates a constraint" in line for line in format_table(run.top(), run.campaign)[1:4]] == [
        False,
        False,
        True,
    ]


def test_candidates_of_one_formula_are_told_apart(tmp_path: Path) -> None:
    """Argyrodites with the halide on either site share a formula: cards say which ion is where."""
    data = {
        "version": 1,
        "name": "ions",
        "space": {
            "kind": "substitution",
            "parent": "argyrodite",
            "primitive": True,
            "sites": {"S2": ["S", "Cl"], "X": ["S", "Cl"]},
        },
        "evaluate": ["minimum_distance"],
        "objectives": [{"maximize": "minimum_distance_ratio"}],
        "optimizer": "random",
        "budget": {"candidates": 2},
    }
    page = Page(render_report(finished(data, tmp_path / "run"), model=False))
    assert "Asked as S2: Cl; X: S" in page.text
    assert "Asked as S2: S; X: Cl" in page.text


def test_a_finished_report_says_what_next(tmp_path: Path) -> None:
    """Stages on demand, more candidates of a space that is not exhausted; nothing of a run that goes on."""
    data = parameters(
        candidates=4,
        evaluate=[
            {"landscape": {"function": "sphere"}},
            {"landscape": {"name": "dear", "function": "rastrigin", "suffix": "two", "on_demand": True}},
        ],
    )
    run = finished(data, tmp_path / "a run")
    text = " ".join(Page(render_report(run, model=False)).text.split())
    assert "to the stage dear (landscape), which runs on demand alone" in text
    assert f"invdesign promote '{tmp_path}/a run' --top 3 --stage dear" in text
    assert f"invdesign resume '{tmp_path}/a run' --candidates 8" in text
    assert "dear landscape on demand" in text
    begun = Run.create(campaign(data), tmp_path / "begun")
    assert "What next" not in render_report(begun, model=False)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (["a/rows.csv", "b/rows.csv"], "b/rows.csv"),
        (["../b/rows.csv"], "../b/rows.csv"),
        (["other.csv"], "rows.csv"),
        ([], "rows.csv"),
    ],
)
def test_paths_are_those_of_the_campaign_file(written: list[str], shown: str) -> None:
    """Of several files of one name the one whose folders agree; the name alone of a campaign made in Python."""
    assert restore_paths([{"path": "/home/me/b/rows.csv", "hash": "1"}], written) == [
        {"path": shown, "hash": "1"}
    ]


def test_pictures_and_figures_of_the_best_are_there(crystal_page: Page, crystal_run: Run) -> None:
    """Each of the nine best has a drawing and a figure that turns."""
    best = [row["candidate"] for row in crystal_run.top(9)]
    drawn = [a.get("data-picture") for tag, a in crystal_page.tags if tag == "div" and "data-picture" in a]
    assert drawn == [f"crystal{id}" for id in best]
    assert {f"crystal{id}" for id in best} <= crystal_page.figures()["figures"].keys()
    assert sum(tag == "svg" for tag, _ in crystal_page.tags) == 9


def test_candidates_without_structure_show_their_parameters(number_run: Run) -> None:
    """A table of parameters stands where a crystal has its picture; one objective is ranked, not a front."""
    page = Page(render_report(number_run))
    assert not any(tag == "svg" for tag, _ in page.tags)
    assert "Parameters" in page.text
    assert "Ranking" in page.text
    assert "Pareto front" not in page.text
    assert "Hypervolume" not in page.text


def test_every_figure_is_one_plotly_accepts(crystal_page: Page, number_run: Run) -> None:
    """Plotly's own validators take all of them."""
    from plotly.graph_objects import Figure

    for page in (crystal_page, Page(render_report(number_run))):
        for figure in page.figures()["figures"].values():
            Figure(data=figure["data"], layout=figure["layout"])


def test_every_point_shown_has_a_hover_text(crystal_page: Page) -> None:
    """Numbers of candidates in the figures all lead to a text with the formula and the properties."""
    data = crystal_page.figures()
    ids = {
        str(id) for f in data["figures"].values() for trace in f["data"] for id in trace.get("customdata", [])
    }
    assert ids <= data["hover"].keys()
    assert all("candidate" in text for text in data["hover"].values())


@pytest.fixture(scope="session")
def evil_page(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Page]:
    """A report of a run whose every text is hostile."""
    data = parameters(
        name=EVIL,
        description=f"</title></style>{EVIL}<!--",
        space={
            "kind": "parameters",
            "parameters": {
                "x": {"real": [0, 1]},
                "solvent": {"categorical": [EVIL, f'"><img src=x onerror={EVIL}']},
            },
        },
        evaluate=[{f"{PLUGINS}:Moody": {"name": "moody", "message": f"]]>{EVIL} %{{x}} \u2028"}}],
        objectives=[{"minimize": "cost"}, {"maximize": "<b>gain</b>"}],
    )
    text = render_report(finished(data, tmp_path_factory.mktemp("evil") / "run"))
    return text, Page(text)


def test_nothing_in_the_data_becomes_markup(evil_page: tuple[str, Page]) -> None:
    """Name, description, categories and messages with tags in them are shown, and start no element."""
    text, page = evil_page
    assert sum(tag == "script" for tag, _ in page.tags) == 3
    assert not any(tag == "img" for tag, _ in page.tags)
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert EVIL not in text
    assert EVIL in page.text
    assert f"]]>{EVIL} %{{x}}" in page.text


def test_figures_hold_no_markup_but_ours(evil_page: tuple[str, Page]) -> None:
    """Plotly reads tags in texts: what comes from the data has none left."""
    _, page = evil_page

    def strings(value: Any) -> list[str]:
        if isinstance(value, str):
            return [value]
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        return [text for item in items for text in strings(item)]

    tags = {tag for text in strings(page.figures()) for tag in re.findall(r"<[^>]*>", text)}
    assert tags <= {"<b>", "</b>", "<br>", "<sub>", "</sub>"}
    assert any("&lt;b&gt;gain" in text for text in strings(page.figures()))


@given(st.recursive(st.text() | st.floats(allow_nan=False, allow_infinity=False), st.lists, max_leaves=5))
def test_json_in_a_script_is_the_same_and_cannot_close_it(value: Any) -> None:
    """Whatever the text, it comes back equal, and no character in it means anything to HTML."""
    text = str(script_json(value))
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


@pytest.mark.parametrize(
    "state", ["new", "one", "nothing complete", "nothing feasible", "stopped", "killed", "too many failures"]
)
def test_a_run_in_any_state_gives_a_report(state: str, tmp_path: Path) -> None:
    """Whatever became of a run, its report can be written and says so."""
    folder = tmp_path / "run"
    run, word = _run_in(state, folder)
    page = Page(write_report(run, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert word in page.text


def _run_in(state: str, folder: Path) -> tuple[Run, str]:
    if state == "new":
        return Run.create(campaign(parameters()), folder), "was not started yet"
    if state == "one":
        return finished(parameters("zdt2", 1), folder), "1 candidate"
    if state == "nothing complete":
        gate = {"landscape": {"function": "sphere", "gate": {"height": {"max": -1}}}}
        return finished(parameters(evaluate=[gate]), folder), "No candidate is complete yet"
    if state == "nothing feasible":
        return finished(
            parameters(constraints=[{"height": {"max": -1}}]), folder
        ), "No complete candidate meets"
    if state == "too many failures":
        from invdesign.errors import RunError

        run = Run.create(campaign(crystals(seed=4, max_failure_rate=0.01)), folder)
        run.use_workers(0)
        with pytest.raises(RunError, match="max_failure_rate"):
            run.execute()
        return Run.open(folder, trust_code=True), "The run is not finished"
    run = Run.create(campaign(parameters(candidates=200)), folder)
    run.use_workers(0)
    run.execute(lambda status: run.stop() if status.counts["complete"] else None)
    if state == "killed":
        with Store.open(folder / STORE_FILE) as store:
            store.begin_session({"python": "3.11.0"})
        return Run.open(folder, trust_code=True), "interrupted"
    return Run.open(folder, trust_code=True), "stopped"


def test_the_report_replaces_the_former_one_and_leaves_nothing_else(number_run: Run, tmp_path: Path) -> None:
    """Folders on the way are made; after two reports one file is there."""
    path = tmp_path / "some" / "where" / "report.html"
    assert write_report(number_run, path) == path
    assert write_report(number_run, path) == path
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]


def test_a_report_never_lands_on_a_folder_or_a_store(number_run: Run, tmp_path: Path) -> None:
    """A folder's name and the name of a run's store are refused, and nothing is left behind."""
    with pytest.raises(OutputError, match="is a folder"):
        write_report(number_run, tmp_path)
    with pytest.raises(OutputError, match="run's store"):
        write_report(number_run, number_run.folder / STORE_FILE)
    assert list(tmp_path.iterdir()) == []
    assert len(Run.open(number_run.folder, trust_code=True).history) == 30


def test_a_report_that_cannot_be_written_says_why(number_run: Run, tmp_path: Path) -> None:
    """A file where a folder is needed ends in a message, not a stack trace."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(number_run, tmp_path / "file" / "report.html")
