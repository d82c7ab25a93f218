"""Trusted documents: those that a server knows beforehand, by the ids that clients may send in their place."""

from daglens.server.documents.manifest import InvalidDocuments, Manifest, read_manifest
from daglens.server.documents.trusted import TrustedDocuments

__all__ = ["InvalidDocuments", "Manifest", "TrustedDocuments", "read_manifest"]
