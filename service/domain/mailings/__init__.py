"""The parent of every send: mailing, audience, batches, outcomes. It stands below the gate, which is handed to it."""
