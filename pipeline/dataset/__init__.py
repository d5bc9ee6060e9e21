"""What is done with a finished set: verify, diff, download, upload, list, report."""
