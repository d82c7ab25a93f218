"""What one operation may ask for: told from its document and its variables, before anything is executed.

strawberry has extensions for depth, aliases and tokens. They are not used: they look at a fragment anew wherever it is
spread (so that 20 lines of fragments cost them minutes), know no cost, and check a cached document at each request.
"""

from daglens.schema.limits.extensions import limit_extensions

__all__ = ["limit_extensions"]
