"""Migration barriers by the nudged elastic band: hops, paths, bands, and the evaluator."""
