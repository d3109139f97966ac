"""Systematic errors of barriers by potentials, shared by elastic bands and dynamics."""

BARRIER_ERRORS = {"chgnet-0.3.0": 0.29}
"""eV, by the beginning of the potential's fingerprint: root mean square error of its barriers against 36 single hops of the literature, most
of them too low (`benchmarks/truth_tasks/barriers_neb.py`; softening: B. Deng et al., npj Comput. Mater. 11, 9 (2025))."""
