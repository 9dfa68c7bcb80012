"""Experiment matrices: sequences x rate points x filters, each cell a chain of commands, run on Dask, kept by hashes.

`matrix` reads what is to be done, `plan` makes jobs of it, `job` runs one of them, `cluster` runs them all, `results`
puts together what they found.
"""
