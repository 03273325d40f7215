"""One file for one experiment: what it measures, its table, its plot, its flags."""
