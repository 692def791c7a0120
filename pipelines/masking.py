"""Secrets out of texts: what stands in an address to log in by is printed, reported and tracked for nobody."""

import re

HIDDEN = "***"
SCHEME = r"(?P<before>\b[a-z][a-z0-9+.-]{0,30}://)"
LOGIN = r"[^/?#\s:'\"]{0,128}:(?!\d+[/?#])[^\s'\"]{0,256}@"
USER = re.compile(SCHEME + rf"(?!anonymous@|\*\*\*@)(?:{LOGIN}|[^/?#\s'\"]{{0,256}}@)", re.IGNORECASE)
"""What stands before a host: `user:password@`, `token@`. A password may hold @ and /, though it should not."""
NAMES = "secret|passw|pwd|token|access_?key|account_?key|api_?key|credential|signature|sig"
PARAMETER = re.compile(rf"(?P<before>[?&;][\w-]*(?:{NAMES})[\w-]*=)[^&;#\s'\"]*", re.IGNORECASE)
"""A setting in an address, such as `?secret_key=` or that of a signed address, `&X-Amz-Signature=`."""
KNOWN = re.compile(r"\b(?:hf_[A-Za-z0-9]{20,}|A[KS]IA[A-Z0-9]{16}|gh[opsu]_[A-Za-z0-9]{30,})\b")
"""Tokens that their first letters give away: the Hugging Face hub's, AWS's and GitHub's."""


def masked(text: str) -> str:
    """Return a text without the secrets in its addresses; any other text as it is."""
    text = USER.sub(rf"\g<before>{HIDDEN}@", text)
    return KNOWN.sub(HIDDEN, PARAMETER.sub(rf"\g<before>{HIDDEN}", text))


def masked_tree(value: object) -> object:
    """Return nested settings with every text in them masked; names of settings stay."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {key: masked_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked_tree(item) for item in value]
    return value
