"""What things cost: figures, never pass or fail by the clock. `make bench` prints them and writes tests/out/bench.json."""
