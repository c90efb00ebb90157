"""The plot of the matrix of fairness, with more queues than the tests have; needs matplotlib.

python -m tests.sim.fairness_plot docs/fairness.png
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from matplotlib import pyplot as plt

from .fairness import LINKS, PAIRS, Case, shares

QUEUES = (0.25, 0.5, 1.0, 2.0, 4.0)


def plot(picture: Path) -> None:
    """Compute the matrix and plot it: a panel for each pair, two lines for each link."""
    cases = [Case(link, queue, controls) for controls in PAIRS for link in LINKS for queue in QUEUES]
    with ProcessPoolExecutor(2) as pool:
        results = dict(zip(cases, pool.map(shares, cases), strict=True))
    figure, panels = plt.subplots(1, len(PAIRS), figsize=(15, 3.6), sharey=True, layout="constrained")
    for panel, controls in zip(panels, PAIRS, strict=True):
        for number, link in enumerate(LINKS):
            both = [results[Case(link, queue, controls)] for queue in QUEUES]
            panel.plot(QUEUES, [first for first, _ in both], "o-", color=f"C{number}", label=link)
            panel.plot(QUEUES, [second for _, second in both], "s--", color=f"C{number}", mfc="none")
        panel.axhspan(0.4, 2.5, color="gray", alpha=0.12)
        panel.axhline(1.0, color="gray", linewidth=0.8)
        panel.set(
            title=" then ".join(controls), xscale="log", xlabel="queue in bandwidth-delay products", ylim=(0, 2.6)
        )
        panel.set_xticks(QUEUES, [f"{queue:g}" for queue in QUEUES])
        panel.minorticks_off()
    panels[0].set_ylabel("multiple of an equal share")
    panels[0].legend(title="first flow solid, second dashed", fontsize="small")
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    plot(Path(sys.argv[1]))
