"""The LMDB catalog and delta, Arrow segment files, checksums and atomic publishing."""
