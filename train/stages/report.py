"""Stage report: one page that opens offline."""
