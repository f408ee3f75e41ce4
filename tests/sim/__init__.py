"""The whole sending engine on virtual time, by seeds: `python -m tests.sim`, `make faults` (F36), and a part of `make test`."""
