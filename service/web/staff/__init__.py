"""The staff pages, one file per matter. Thin: read the form, ask for the permission, call one action or query, show a page."""
