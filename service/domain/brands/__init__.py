"""Who writes: brand rows and the settings staff may change, each change in the ledger."""
