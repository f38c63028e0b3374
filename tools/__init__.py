"""Tools of the developers: benchmarks, tables of results, the schema of the configs. Not installed."""
