"""From audience to wire and back: freeze, claim with the gate, compose, record, retry."""
