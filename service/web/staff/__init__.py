"""The staff pages, one file per matter. Thin: form, permission, one action or query, page."""
