"""`python -m lab`: the same as `popnet`."""

from __future__ import annotations

from lab.cli import main

main()
