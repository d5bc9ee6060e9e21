"""The report as a browser shows it: at desktop and phone width, light and dark, and in print.

The page of GSM8K and its screenshots stay in ``build/report``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from chromium import Chromium, chromium_fixture  # noqa: F401 - pytest finds the fixture
from made_reports import made_files, made_manifest, made_page
from means import REPOSITORY

from pipeline import Request, prepare

KEPT = REPOSITORY / "build" / "report"
WIDTHS = {"desktop": 1280, "phone": 390}

# The least contrast (WCAG 2) between any text and what is behind it.
CONTRAST = """(() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  let least = 21;
  for (const one of document.body.querySelectorAll("*")) {
    if (![...one.childNodes].some(n => n.nodeType == 3 && n.data.trim())) continue;
    let behind = one;
    while (behind && rgb(getComputedStyle(behind).backgroundColor)[3] === 0)
      behind = behind.parentElement;
    const back = getComputedStyle(behind || document.documentElement).backgroundColor;
    const two = [getComputedStyle(one).color, back].map(rgb).map(light).sort((a, b) => b - a);
    least = Math.min(least, (two[0] + 0.05) / (two[1] + 0.05));
  }
  return least;
})()"""


@pytest.fixture(scope="module")
def gsm8k(tmp_path_factory: pytest.TempPathFactory, shared_data: Callable[[str], Path]) -> Path:
    """The page of a run with GSM8K's training and test rows."""
    folder = tmp_path_factory.mktemp("gsm8k")
    with pytest.MonkeyPatch.context() as patch:  # a machine's path would stand on the page
        patch.chdir(shared_data("gsm8k/train.jsonl").parent.parent)
        prepare(Request("gsm8k/*.jsonl", str(folder / "set"), skip_upload=True))
    KEPT.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(folder / "set" / "report.html", KEPT / "gsm8k.html"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every section, of hostile and of wide texts."""
    manifest = made_manifest(dataset=f"{'long-name' * 30}<script>document.title = 1</script>")
    manifest["plan"]["columns"] = {"column" * 60: "string"}
    manifest["quality"]["leakage"]["examples"][0]["train"] = "x" * 500
    answer = f"<script>console.error(1)</script><img src=http://localhost:9/x>{'w' * 900}"
    path = tmp_path_factory.mktemp("made") / "report.html"
    path.write_text(made_page(manifest, made_files(answer=answer)), encoding="utf-8")
    return path


def check(browser: Chromium, page: Path, width: int, dark: bool) -> None:
    browser.show(page, width, dark)
    assert browser.ask("innerWidth") == width
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("matchMedia('(prefers-color-scheme: dark)').matches") == dark
    assert browser.ask(CONTRAST) >= 4.5
    assert browser.ask("document.scripts.length") == 0
    assert browser.console() == []
    assert browser.requests() == [page.as_uri()]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("screen", WIDTHS)
class TestOnAScreen:
    def test_gsm8k(
        self,
        chromium: Chromium,
        gsm8k: Path,
        screen: str,
        dark: bool,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        check(chromium, gsm8k, WIDTHS[screen], dark)
        kept = KEPT / f"gsm8k-{screen}-{'dark' if dark else 'light'}.png"
        chromium.screenshot(kept)
        with capsys.disabled():
            print(f"\n{kept}")

    def test_every_section_with_hostile_and_wide_texts(
        self, chromium: Chromium, made: Path, screen: str, dark: bool
    ) -> None:
        check(chromium, made, WIDTHS[screen], dark)
        assert chromium.ask("document.title").startswith("Report: long-name")


def test_on_paper_it_is_dark_on_white_and_all_samples_show(chromium: Chromium, made: Path) -> None:
    chromium.show(made, 1280, dark=True)
    chromium.on_paper()
    assert chromium.ask("getComputedStyle(document.documentElement).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert chromium.ask(CONTRAST) >= 4.5
    closed = "[...document.querySelectorAll('details.sample:not([open]) pre')]"
    assert chromium.ask(f"{closed}.length") > 10
    assert chromium.ask(f"{closed}.every(one => one.checkVisibility())")
