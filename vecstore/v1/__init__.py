"""Messages and services generated from protos/vecstore/v1 by tools/gen_protos.py; do not edit."""
