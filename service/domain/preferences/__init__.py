"""What each person gets now: a projection of the ledger, and the one gate that every mail passes twice."""
