"""A headless Chromium for tests, from Debian's packages in CI."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from means import ON_CI, absent
from selenium import webdriver

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-dev-shm-usage",  # containers have little of it
)
_INSTALL = ("apt-get", "install", "-y", "--no-install-recommends", "chromium", "chromium-driver")


@dataclass(frozen=True)
class Chromium:
    """A browser that shows one page at a time."""

    driver: Any

    def show(self, page: Path, width: int, dark: bool) -> None:
        """Opens a page at that width in CSS pixels, as a phone or desktop with these colours."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        shown = {"media": "", "features": [scheme]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", shown)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        self.driver.get(page.as_uri())

    def on_paper(self) -> None:
        """Shows the page as it is printed."""
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})

    def ask(self, script: str) -> Any:
        """What a script in the page returns."""
        return self.driver.execute_script(f"return {script}")

    def screenshot(self, path: Path) -> None:
        """The whole page as a picture."""
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, **{n: size[n] for n in ("width", "height")}, "scale": 1}
        found = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b64decode(found["data"]))

    def console(self) -> list[str]:
        """What the page complained of."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses that the page asked for."""
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]


def _programs() -> tuple[str, str]:
    """The browser and its driver; installed in CI where they are missing."""
    found = _found()
    if None in found and ON_CI and shutil.which("apt-get") and not os.geteuid():
        for words in (("apt-get", "update"), _INSTALL):
            subprocess.run(
                words,
                check=False,  # what is missing is told below
                capture_output=True,
                timeout=600,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            )
        found = _found()
    browser, driver = found
    if browser is None or driver is None:
        absent("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    return browser, driver


def _found() -> tuple[str | None, str | None]:
    return shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(name="chromium", scope="session")
def chromium_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser, driver = _programs()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    running = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield Chromium(running)
    running.quit()
