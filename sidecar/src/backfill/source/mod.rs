//! Where Parquet comes from: local files and globs, S3, GCS, HTTP; what an object is known by.
