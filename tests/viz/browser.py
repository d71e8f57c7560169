"""Laying a page out in a real browser."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), "")
MEASURE = """<script>
const box = e => e.getBoundingClientRect(), shown = e => box(e).width > 0;
const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
  && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
const clashes = [];
for (const chart of [...document.querySelectorAll("svg.chart")].filter(shown)) {
  const texts = [...chart.querySelectorAll("text")];
  texts.forEach((a, i) => texts.slice(i + 1).forEach(b => {
    if (meet(box(a), box(b))) clashes.push(a.textContent + " | " + b.textContent); }));
  const frame = box(chart);
  for (const t of texts) if (box(t).left < frame.left - 2 || box(t).right > frame.right + 2)
    clashes.push("outside: " + t.textContent);
}
const small = [...document.querySelectorAll("text")].filter(shown)
  .filter(t => box(t).height < 9).map(t => t.textContent);
const root = document.documentElement;
const found = {wide: root.scrollWidth, window: innerWidth, clashes, small};
parent.postMessage(JSON.stringify(found), "*");
</script>"""
AROUND = """<!doctype html><pre></pre><script>
addEventListener("message", e => document.querySelector("pre").textContent = e.data);
</script><iframe src="page.html" style="border: 0; width: WIDTHpx; height: 900px"></iframe>"""


needs_browser = pytest.mark.skipif(not CHROMIUM, reason="needs chromium to lay the page out")


def check_layout(text: str, folder: Path, width: int) -> None:
    """Nothing is wider than the window, no words of a chart meet or are too small to be read."""
    text = re.sub(r"<meta http-equiv[^>]*>", "", text)
    (folder / "page.html").write_text(text.replace("</body>", MEASURE + "</body>"))
    around = folder / "around.html"
    around.write_text(AROUND.replace("WIDTH", str(width)))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={folder / 'profile'}", "--window-size=1300,900"]
    command += ["--dump-dom", around.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    match = re.search(r"<pre>(.+?)</pre>", done.stdout, re.DOTALL)
    assert match, done.stdout[-500:]
    found = json.loads(match[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    assert found["wide"] <= found["window"] == width
    assert found["clashes"] == []
    assert found["small"] == []
