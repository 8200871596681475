"""Why a route was chosen, and what would change that.

`explaining` puts together every candidate as the algorithm ranked it, what damping says of the route in force, and the
flips: by how much one link would have to rise, or a link of another path to fall, before the route changes. A flip is
found by running the algorithm itself on altered states, so it holds for any algorithm, and it contains the gain that
damping asks for.

    explaining(...)   a generator: yields states to decide on, is sent the answers; for who runs algorithms elsewhere
    explain(...)      the same, deciding here and now

    explanation       what it consists of
    question          one tunnel's decision under altered links
    flips             the search for the amounts
    asking            putting it together, and running it
"""

from routing.explain.asking import driven, explain, explaining, stepwise
from routing.explain.explanation import Candidate, Explanation, Flip, Standing
from routing.explain.flips import ALTERNATIVES, MOST_RISE_S, RESOLUTION_S
from routing.explain.question import DRIFT, Runs, links_of

__all__ = [
    "ALTERNATIVES",
    "DRIFT",
    "MOST_RISE_S",
    "RESOLUTION_S",
    "Candidate",
    "Explanation",
    "Flip",
    "Runs",
    "Standing",
    "driven",
    "explain",
    "explaining",
    "links_of",
    "stepwise",
]
