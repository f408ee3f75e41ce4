"""The command `bidden`: one file for each group, thin. Every command knows `--json`; 0 done, 1 refused, 2 wrong use."""
