"""`msr-cache:cacheDefaults`: what all caches of a stack have in common, merged under each of them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from msr_cache.config.errors import Mistake
from msr_cache.config.field_types import depth, value_at

KEY = "cacheDefaults"


def applied(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config with each cache over the defaults, whatever is wrong in either."""
    defaults, caches = raw.get(KEY), raw.get("caches")
    if not isinstance(defaults, dict) or not isinstance(caches, dict):
        return dict(raw)
    return {**raw, "caches": {name: _over(defaults, cache) for name, cache in caches.items()}}


def _over(defaults: Mapping[str, Any], cache: object) -> object:
    """Maps are merged key by key, everything else is replaced; null takes the program's default."""
    if not isinstance(cache, dict):
        return cache
    merged = deepcopy(dict(defaults))
    for key, value in cache.items():
        if value is None and key in merged:
            del merged[key]
        else:
            merged[key] = _over(merged[key], value) if isinstance(merged.get(key), dict) else value
    return merged


def where_written(raw: Mapping[str, Any], mistake: Mistake) -> Mistake:
    """Return the mistake at the key that has to change: the defaults', if the cache itself does not have it."""
    section, *rest = mistake.path
    if section != "caches" or len(rest) < 2:  # noqa: PLR2004 - a cache's name and a key
        return mistake
    name, *keys = rest
    own, default = (depth(above, keys) for above in (value_at(raw, "caches", name), raw.get(KEY)))
    return Mistake((KEY, *keys), mistake.text) if default > own else mistake
