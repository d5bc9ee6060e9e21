"""Where a set is written and read: a local folder or S3, the manifest, file names."""
