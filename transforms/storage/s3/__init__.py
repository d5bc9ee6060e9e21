"""S3: addresses, clients, requests, errors, the lease of a prefix, the store of a set."""
