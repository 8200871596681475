"""Reading matrices: what is impossible is found and treated, what is odd is one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.driver import LabError
from lab.replay.matrices import checked, read

NAMES = ["LHR", "NRT", "SYD"]


def square(**cells: float) -> np.ndarray:
    """Three nodes, 300 ms each way, but for cells such as ab=5."""
    rtts = np.full((3, 3), 300.0)
    np.fill_diagonal(rtts, 0.0)
    for key, value in cells.items():
        rtts["abc".index(key[0]), "abc".index(key[1])] = value
    return rtts


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ({"ab": np.nan, "ba": np.inf}, "are no number"),
        ({"ab": -1.0}, "are negative"),
        ({"ab": 0.0}, "are zero"),
        ({"ab": 50.0}, "below light in fibre"),
    ],
)
def test_what_cannot_be_counts_as_not_measured(cells: dict[str, float], what: str) -> None:
    places = [(51.47, -0.45), (35.76, 140.39), (-33.95, 151.18)]
    found = checked(NAMES, np.stack([square(**cells), square()]), places)
    (finding,) = found.findings
    assert what in str(finding)
    assert finding.count == len(cells)
    assert f"{len(cells)} of 12 RTTs" in str(finding)
    assert "LHR-NRT" in finding.examples[0]
    assert np.isnan(found.rtt_ms[0, 0, 1])
    assert found.rtt_ms[1, 0, 1] == 300.0


def test_without_places_light_says_nothing() -> None:
    found = checked(NAMES, np.stack([square(ab=50.0, ba=50.0), square()]))
    assert found.findings == ()
    assert found.rtt_ms[0, 0, 1] == 50.0


def test_of_contradicting_directions_the_shorter_counts() -> None:
    found = checked(NAMES, np.stack([square(ab=1000.0), square(bc=400.0)]))
    (finding,) = found.findings
    assert finding.count == 1
    assert "the shorter one for both" in str(finding)
    assert found.rtt_ms[0, 0, 1] == 300.0
    # A third more is a difference, no contradiction.
    assert found.rtt_ms[1, 1, 2] == 400.0


def test_an_empty_slice_is_an_error() -> None:
    with pytest.raises(LabError, match="slice 1: nothing in it was measured"):
        checked(NAMES, np.stack([square(), np.zeros((3, 3))]))


def test_npz_in_units_with_names_in_another_order(tmp_path: Path) -> None:
    rtt = np.arange(18, dtype=np.uint16).reshape(2, 3, 3) + 100
    file = tmp_path / "m.npz"
    np.savez(file, rtt=rtt, unit_ms=np.float32(0.1), names=np.array(["c", "a", "b"]))
    found = read(file)
    assert found.names == ("a", "b", "c")
    assert found.rtt_ms[0, 0, 2] == pytest.approx(10.3)  # a to c was row 1, column 0
    assert found.rtt_ms[0, 0, 0] == 0.0
    assert found.findings == ()


def test_npz_without_anything_but_numbers(tmp_path: Path) -> None:
    file = tmp_path / "m.npz"
    np.savez(file, np.full((2, 11, 11), 20.0))
    found = read(file)
    assert found.names[:3] == ("n00", "n01", "n02")
    assert found.slices == 2


def test_csv_with_slices_and_gaps(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_text(
        "t,from,to,rtt_ms\n1,LHR,NRT,250\n1,NRT,LHR,250\n0,LHR,NRT,240\n1,SYD,NRT,20\n0,LHR,SYD,\n"
    )
    found = read(file)
    assert found.names == ("LHR", "NRT", "SYD")
    assert found.rtt_ms[:, 0, 1].tolist() == [240.0, 250.0]
    assert np.isnan(found.rtt_ms[0, 0, 2])
    # 20 ms from Sydney to Tokyo is faster than light in fibre: IATA codes have places.
    assert np.isnan(found.rtt_ms[1, 2, 1])
    assert any("light" in one.what for one in found.findings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: found nothing, allowed: from,to,rtt_ms"),
        ("from,to\n", "1: found from,to, allowed: from,to,rtt_ms"),
        ("from,to,rtt_ms\n", "no line below the header"),
        ("from,to,rtt_ms\na,b\n", ":2: found another number of fields"),
        ("from,to,rtt_ms\na,b,c,d\n", ":2: found another number of fields"),
        ("from,to,rtt_ms\na,b,fast\n", ":2: rtt_ms: found 'fast'"),
        ("from,to,rtt_ms\n,b,1\n", ":2: found no name"),
        ("t,from,to,rtt_ms\nnoon,a,b,1\n", ":2: t: found 'noon'"),
        ("from,to,rtt_ms\na,b,1\n", "found 1 slice, allowed: at least 2"),
        ("t,from,to,rtt_ms\n0,a,b,1\n1,a,b,1\n", "found 2 nodes, allowed: at least 3"),
    ],
)
def test_an_odd_csv_is_one_error(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "m.csv"
    file.write_text(text)
    with pytest.raises(LabError) as caught:
        read(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"rtt": np.zeros(3)}, "found rtt (3,), allowed: an array `rtt`"),
        ({"rtt": np.zeros((2, 3, 4))}, "allowed: an array `rtt`"),
        ({"x": np.zeros((2, 3, 3)), "y": np.zeros((2, 3, 3))}, "allowed: an array `rtt`"),
        ({"rtt": np.array([[["a"]]])}, "allowed: an array `rtt`"),
        ({"rtt": np.ones((2, 3, 3)), "unit_ms": np.array(0.0)}, "unit_ms: found array(0.)"),
        ({"rtt": np.ones((2, 3, 3)), "names": np.array(["a", "a", "b"])}, "names: found 2"),
        ({"rtt": np.ones((2, 3, 3)), "places": np.ones((3, 3))}, "places: found (3, 3)"),
        ({"rtt": np.ones((2, 3, 3)), "places": np.full((3, 2), 99.0)}, "latitude -90..90"),
        ({"rtt": np.array([object()])}, "no .npz file of plain arrays"),
    ],
)
def test_an_odd_npz_is_one_error(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    file = tmp_path / "m.npz"
    np.savez(file, **arrays)
    with pytest.raises(LabError) as caught:
        read(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    for name, text in (("m.npz", b"PK\x03\x04 no zip"), ("n.npz", b""), ("m.csv", b"\xff\xfe\xff")):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(LabError, match=name):
            read(tmp_path / name)
    for name in ("absent.npz", "absent.csv", "m.txt"):
        with pytest.raises(LabError, match=name):
            read(tmp_path / name)
