"""The senders' leases: what each has seen of what was taken away, and until when it counts as alive."""
