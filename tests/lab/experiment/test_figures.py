"""Figures are drawn from files alone; without matplotlib there is one clear error."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from lab.experiment import figures
from lab.experiment.files import Sample, write
from lab.experiment.summary import summarise


def results(directory: Path) -> Path:
    samples = [
        Sample(
            seed=1,
            repeat=number,
            pair_id=number,
            order=0,
            t_s=float(number),
            visitor="tokyo",
            host="app.example.com",
            ingress="NRT",
            egress="LHR",
            algorithm=algorithm,
            path=path,
            status=200,
            error="",
            warm=True,
            bytes=1,
            dns_ms=0.0,
            connect_ms=0.0,
            tls_ms=0.0,
            ttfb_ms=ttfb_ms + number,
            total_ms=ttfb_ms + number,
            overlay_rtt_ms=None,
            oracle_rtt_ms=None,
        )
        for number in range(7)
        for algorithm, path, ttfb_ms in (("direct", "NRT>LHR", 100), ("mine", "NRT>IAD>LHR", 90))
    ]
    rows = summarise(samples, "direct")
    extra = {"world": "w", "driver": "virtual", "baseline": "direct", "seeds": [1]}
    write(directory, samples=samples, rows=rows, extra=extra, manifest={})
    return directory


def test_all_figures_are_drawn_from_the_files_alone(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures need the extra `plot`")
    written = figures.draw(results(tmp_path), ["png"])
    assert [path.name for path in written] == [
        "ttfb-cdf.png",
        "gain-cdf.png",
        "gain-by-city.png",
        "paths.png",
    ]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in written)


def test_without_matplotlib_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError("No module named 'matplotlib'")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(figures.NoPlotError, match=r"popnet\[plot\]"):
        figures.draw(results(tmp_path))
