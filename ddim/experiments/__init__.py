"""The experiments of `python -m ddim`: one file for one command, which measures, writes, plots and prints."""
