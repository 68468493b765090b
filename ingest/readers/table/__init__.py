"""Tables by a mapping: CSV, Excel, Parquet."""
