"""RTT matrices from CSV files, good and bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from topology.load import WorldError, load_world
from topology.matrix import MOST_PROBLEMS, Matrix, parse_matrix
from topology.plan import Plan

NODES = ("LHR", "FRA", "NRT")


def parsed(text: str) -> Matrix:
    return parse_matrix(text, "m.csv", NODES)


@pytest.mark.parametrize(
    "text",
    [
        "LHR,FRA,NRT\n0,14,270\n14,0,255\n270,255,0\n",
        "\ufeffLHR, FRA, NRT\n,14,270\n14,,255\n270,255,\n".lstrip("\ufeff"),
        ",LHR,FRA,NRT\nLHR,0,14,270\nFRA,14,0,255\nNRT,270,255,0\n",
        'from,"LHR","FRA","NRT"\nLHR,7,14,270\n\nFRA,14,7,255\r\nNRT,270,255,7',
        "LHR,FRA,NRT\n0,14,270\n,0,255\n,,0\n",
    ],
)
def test_ways_to_write_the_same_matrix(text: str) -> None:
    matrix = parsed(text)
    assert matrix.problems == []
    assert matrix.one_way_ms == {
        "LHR": {"FRA": 7, "NRT": 135},
        "FRA": {"LHR": 7, "NRT": 127.5},
        "NRT": {"LHR": 135, "FRA": 127.5},
    }


def test_each_cell_gives_half_of_itself_to_its_own_direction() -> None:
    assert parsed("LHR,FRA\n0,14\n20,0\n").one_way_ms == {"LHR": {"FRA": 7}, "FRA": {"LHR": 10}}


def test_two_unlabelled_rows_with_empty_first_cells_are_numbers() -> None:
    assert parsed("LHR,FRA\n,14\n,\n").one_way_ms == {"LHR": {"FRA": 7}, "FRA": {"LHR": 7}}


@pytest.mark.parametrize(
    ("text", "line", "column", "found", "allowed"),
    [
        ("LHR,FRA\n0,14\n", 2, 1, "1 rows of numbers below 2 names", "square"),
        ("LHR,FRA\n0,14\n14\n", 3, 1, "1 numbers in the row of FRA", "2: a square"),
        ("LHR,FRA\n0,14,9\n14,0\n", 2, 1, "3 numbers in the row of LHR", "2: a square"),
        ("LHR,FRA\n0,14\n14,0\n3,4\n", 4, 1, "3 rows of numbers below 2 names", "square"),
        ("LHR,FRA\n0, NaN\n14,0\n", 2, 4, "'NaN'", "milliseconds"),
        ("LHR,FRA\n0,inf\n14,0\n", 2, 3, "'inf'", "milliseconds"),
        ("LHR,FRA\n0,-3\n14,0\n", 2, 3, "'-3'", "at least 0"),
        ("LHR,FRA\n0,far\n14,0\n", 2, 3, "'far'", "milliseconds"),
        ("LHR,FRX\n0,14\n14,0\n", 1, 5, "'FRX', which is no node", "names of PoPs"),
        ("LHR,LHR\n0,14\n14,0\n", 1, 5, "'LHR' a second time", "once"),
        (",LHR,FRA\nLHR,0,14\nNRT,14,0\n", 3, 1, "'NRT'", "'FRA': rows in the header's order"),
        ("LHR,FRA\n", 1, 1, "1 rows", "header row"),
        ("", 1, 1, "0 rows", "header row"),
    ],
)
def test_bad_matrix(text: str, line: int, column: int, found: str, allowed: str) -> None:
    problem = parsed(text).problems[0]
    assert (problem.file, problem.line, problem.column) == ("m.csv", line, column), str(problem)
    assert found in problem.found
    assert allowed in problem.allowed


def test_unknown_name_has_a_near_miss() -> None:
    assert parsed("LHR,FRX\n0,14\n14,0\n").problems[0].hint == "did you mean 'FRA'?"


def test_only_so_many_problems_are_listed() -> None:
    names = [f"N{i}" for i in range(40)]
    text = "\n".join([",".join(names), *[",".join(["x"] * 40)] * 40])
    assert len(parsed(text).problems) == MOST_PROBLEMS


def test_a_world_takes_the_matrix_below_what_it_says_itself(tmp_path: Path) -> None:
    (tmp_path / "rtt.csv").write_text("LHR,FRA,tokyo\n0,14,270\n20,0,255\n,,0\n", "utf-8")
    (tmp_path / "w.yaml").write_text(
        "popnet: 1\npops: [LHR, FRA]\nvisitors: [tokyo]\n"
        "internet: {rtt_csv: rtt.csv, rtt_ms: {tokyo: {LHR: 100}}, one_way_ms: {FRA: {LHR: 3}}}\n"
    )
    plan = Plan.of(load_world(tmp_path / "w.yaml"))
    assert plan.link("LHR", "FRA").one_way_s == 0.007
    assert plan.link("FRA", "LHR").one_way_s == 0.003
    assert plan.rtt("tokyo", "LHR") == 0.1
    assert plan.rtt("tokyo", "FRA") == 0.255
    # The plan holds the numbers: no other process reads the CSV.
    (tmp_path / "rtt.csv").unlink()
    assert Plan.from_json(plan.to_json()).rtt("tokyo", "FRA") == 0.255


def test_problems_of_the_matrix_come_with_those_of_the_world(tmp_path: Path) -> None:
    (tmp_path / "rtt.csv").write_text("LHR,FRA\n0,NaN\n14,0\n", "utf-8")
    (tmp_path / "w.yaml").write_text(
        "popnet: 1\npops: [LHR, FRA]\nseed: x\ninternet: {rtt_csv: rtt.csv}\n"
    )
    with pytest.raises(WorldError) as caught:
        load_world(tmp_path / "w.yaml")
    yaml, csv = caught.value.problems
    assert (yaml.key, yaml.line) == ("seed", 3)
    assert (csv.file, csv.line, csv.column) == (str(tmp_path / "rtt.csv"), 2, 3)
