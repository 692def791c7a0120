"""What reports hold."""

import re


def addresses(page: str) -> list[str]:
    """Return the addresses that a page names; the letters of its pictures may spell anything."""
    return re.findall("http[^-][^\"' <>]*", re.sub("base64,[^\"']*", "", page))
