"""Reads an export with Polars and fits the rate of misaligned answers again, as docs/export.md shows.

    python3 -m venv venv && venv/bin/pip install polars
    tiltmeter export runs/NAME --format parquet --out tables
    venv/bin/python docs/clients/refit_rate.py tables
"""

import sys

folder = sys.argv[1]

# docs/export.md begins here
import polars as pl

conditions = pl.read_parquet(f"{folder}/conditions.parquet")
links = pl.read_parquet(f"{folder}/condition_samples.parquet")
samples = pl.read_parquet(f"{folder}/samples.parquet").select("sample_id", "question", "misaligned")
rates = links.join(samples, on="sample_id").group_by("condition").agg(pl.col("misaligned").mean())
print(conditions.join(rates, on="condition").select("subject", "demonstrations", "control", "shots", "misaligned"))
# docs/export.md ends here

# By hand, for whoever checks the figures above: one line for each condition.
counts = links.join(samples, on="sample_id").group_by("condition").agg(
    pl.col("misaligned").sum().alias("misaligned"), pl.col("misaligned").count().alias("denominator_count")
)
for row in counts.sort("condition").iter_rows(named=True):
    print("condition {condition}: {misaligned} of {denominator_count}".format(**row))
