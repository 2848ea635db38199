//! Parquet row groups as Arrow batches, with memory bounded whatever the file.
