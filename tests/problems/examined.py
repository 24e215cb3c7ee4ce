"""What ``integrand analyze`` says of a run, with what any analysis must leave behind checked."""

import json
from pathlib import Path
from typing import Any

from integrand.apps.cli import main


def examined(run: Path) -> dict[str, dict[str, Any]]:
    """Analyze a run and return what each instrument found, by its name."""
    assert main(["analyze", str(run), "--accelerator", "cpu"]) == 0
    findings = json.loads((run / "analysis.json").read_text())
    page = (run / "analysis.html").read_text()
    for one in findings:
        assert one["verdict"] in ("sound", "doubtful", "flawed", "told")
        assert one["statement"]
        assert f'<span class="{one["verdict"]}">' in page
    for drawn in json.loads((run / "analysis" / "captions.json").read_text()):
        assert (run / "analysis" / drawn["file"]).read_bytes()[:4] == b"\x89PNG"
        assert drawn["title"] in page
    assert not any(one["statement"].startswith("Not applied") for one in findings)
    return {one["instrument"]: one for one in findings}
