"""What can be wrong with a document or a page of it."""

from typing import Self

from malha.runtime.errors import DeadlineExceeded, InvalidArgument


class DocumentDamaged(InvalidArgument):
    """The document begins as one of its kind does, and cannot be read all the same."""

    default_reason = "DOCUMENT_DAMAGED"


class DocumentEncrypted(InvalidArgument):
    """The document needs a password: send it without one."""

    default_reason = "DOCUMENT_ENCRYPTED"


class TooManyPages(InvalidArgument):
    """The document has more pages than are read of one: send it in parts, or ask for its first pages by ``max_pages``."""

    default_reason = "TOO_MANY_PAGES"


class PageDamaged(InvalidArgument):
    """The page cannot be decoded."""

    default_reason = "PAGE_DAMAGED"


class PageTooLarge(InvalidArgument):
    """The page has more pixels, or more text, than is read of one page, or is a strip."""

    default_reason = "PAGE_TOO_LARGE"


class PageTimeout(DeadlineExceeded):
    """The page took longer than one may."""

    default_reason = "PAGE_TIMEOUT"

    @classmethod
    def over(cls, seconds: float, doing: str) -> Self:
        """Names the limit, and who sets it."""
        return cls(f"the page took longer than {seconds:g} s to {doing}, the limit of MALHA_OCR_PAGE_SECONDS")
