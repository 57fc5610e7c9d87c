"""The page in a real browser, at the widths of a phone and of a desk."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from saved import PAIRS, User, market, noisy


CHROMIUM = shutil.which("chromium")
# Collects errors before anything else runs.
LISTENER = """<script>
const problems = [];
addEventListener("error", event => problems.push(event.message));
for (const name of ["error", "warn"]) console[name] = (...of) => problems.push(of.join(" "));
</script>"""
PROBE = """<script>
function state() {
  const charts = {};
  for (const slot of document.querySelectorAll(".chart"))
    charts[slot.id] = slot.querySelectorAll(".main-svg .trace, .main-svg .point").length;
  const wide = [...document.querySelectorAll("main *")]
    .filter(of => !of.closest(".table") && !of.ownerSVGElement)  // tables scroll, SVGs clip
    .filter(of => of.getBoundingClientRect().right > innerWidth + 1)
    .map(of => of.outerHTML.slice(0, 80));
  const time = document.getElementById("time");
  return {charts, wide, scroll: document.documentElement.scrollWidth, width: innerWidth,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    ink: getComputedStyle(document.body).color,
    chartInk: time.querySelector(".xtick text").style.fill,
    hints: [...document.querySelectorAll(".hint")].filter(of => of.offsetHeight > 0).length,
    drawn: time.querySelector(".js-line").getAttribute("d")};
}
addEventListener("load", () => setTimeout(() => {
  const found = [state()], pair = document.getElementById("pair");
  for (const option of [...pair.options].slice(1)) {
    pair.value = option.value;
    pair.dispatchEvent(new Event("change"));
    found.push(state());
  }
  parent.postMessage(JSON.stringify({states: found, problems}), "*");
}, 3000));
</script>"""
# Chromium's window is 500 px wide at least; a frame has the width of a phone.
FRAME = """<pre id="found"></pre><script>addEventListener("message", event =>
  document.getElementById("found").textContent = event.data)</script>
<iframe src="probed.html" width="WIDTH" height="900" style="border: 0"></iframe>"""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with intervals, trades and another run beside it."""
    user = User(tmp_path_factory.mktemp("page"), market(tmp_path_factory))
    user.save(lambda rows: noisy(0.5, 1, rows))
    user.save(lambda rows: noisy(1.0, 2, rows), identifier="other")
    hours = [user.trade(pair, "2024-04-12 00:00", 9, short=pair == PAIRS[1]) for pair in PAIRS]
    user.save_result(hours)
    user.save_result(hours[:1], "2024-05-02_00-00-00", freqai_identifier="other")
    assert user.evaluate(against=["other"]) == 0
    return user.folder / "out"


def opened(output: Path, width: int, *options: str) -> dict[str, Any]:
    """What the probe found in the page, `width` pixels wide."""
    text = (output / "evaluation.html").read_text(encoding="utf-8")
    text = text.replace("<head>", f"<head>{LISTENER}", 1).replace("</body>", f"{PROBE}</body>")
    (output / "probed.html").write_text(text, encoding="utf-8")
    frame = output / "frame.html"
    frame.write_text(FRAME.replace("WIDTH", str(width)), encoding="utf-8")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [*options, "--window-size=1400,1000", "--virtual-time-budget=30000"]
    done = subprocess.run([*command, frame.as_uri()], capture_output=True, text=True, timeout=300)
    found = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2_000:]
    return json.loads(found[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


def test_page_is_one_file_that_loads_nothing(output: Path) -> None:
    """plotly.js is inside it once, no tag names anything to load, and each chart has its figure."""
    text = (output / "evaluation.html").read_text(encoding="utf-8")
    assert len(text.encode()) < 6_000_000
    assert text.count("plotly.js v") == 1
    outside = re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)
    assert "<script" not in outside
    assert not re.search(r"\b(src|href)\s*=|@import|url\(", outside)
    report = json.loads((output / "evaluation.json").read_text())
    for of in (
        report["headline"],
        report["headline"]["against"]["other"],
        report["trades"]["verdict"],
    ):
        assert of["title"] in outside
    slots = set(re.findall(r'class="chart" id="(\w+)"', outside))
    drawn = set(re.findall(r'"(\w+)(?:\|[^"]*)?":\{"data":\[\{', text)) - {"template"}
    assert slots == drawn >= {"differences", "equity", "time", "pairs", "windows", "calibration"}


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium in PATH to open the page with")
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_page_in_a_browser(output: Path, width: int, scheme: str) -> None:
    """No script error; every chart is drawn; nothing is wider than the screen; the pair changes."""
    options = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    found = opened(output, width, *options)
    assert found["problems"] == []
    states = found["states"]
    assert len(states) == len(PAIRS)
    for state in states:
        assert state["width"] == width
        assert state["wide"] == []
        assert state["scroll"] <= width
        assert set(state["charts"]) >= {"differences", "equity", "time", "fifths", "thresholds"}
        assert all(state["charts"].values()), state["charts"]
        assert state["dark"] == (scheme == "dark")
        assert state["chartInk"] == state["ink"]
        assert bool(state["hints"]) == (width == 390)
    assert states[0]["drawn"] != states[1]["drawn"]
